//! Numbers for people: grouped, scaled, per second.

/// What happened per second between two readings of a counter, `seconds` apart. A daemon that was restarted in between
/// counts from zero again; then there is no rate.
#[expect(clippy::cast_precision_loss, reason = "a rate shown with three digits needs no more")]
pub(super) fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

/// 1234567 → `1,234,567`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// 1234567.0 → `1.23 M`; three digits that count.
pub(super) fn scaled(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (value, unit) = UNITS
        .iter()
        // What would be shown as 1000 of the smaller unit belongs to the larger one.
        .find(|(size, _)| value >= size * 0.9995)
        .map_or((value, ""), |(size, unit)| (value / size, *unit));
    let digits = match value {
        v if unit.is_empty() && v.fract() == 0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

/// Seconds as `3d 04:05:06`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an uptime is positive and fits"
)]
pub(super) fn duration(seconds: f64) -> String {
    let s = seconds as u64;
    let (days, clock) =
        (s / 86_400, format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60));
    if days > 0 { format!("{days}d {clock}") } else { clock }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.5, "0.50"),
            (999.0, "999"),
            (1000.0, "1.00 k"),
            (999_999.0, "1.00 M"),
            (12_345.0, "12.3 k"),
            (2.5e9, "2.50 G"),
            (123.4e6, "123 M"),
        ] {
            assert_eq!(scaled(value), text);
        }
        assert_eq!(duration(3_661.9), "01:01:01");
        assert_eq!(duration(90_000.0), "1d 01:00:00");
        assert!((rate(300, 100, 2.0) - 100.0).abs() < 1e-9);
        assert_eq!(rate(3, 100, 2.0), 0.0, "restarted");
        assert_eq!(rate(3, 1, 0.0), 0.0);
    }
}
