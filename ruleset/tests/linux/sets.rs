//! Named sets and maps of random rulesets, and rules that look into them and change them.

use crate::packets::PORTS;
use crate::rng::Rng;

/// What each table has.
pub(crate) fn definitions(rng: &mut Rng, v4: bool, v6: bool) -> Vec<String> {
    let port = rng.one(PORTS);
    let mut sets = vec![
        format!(
            "set ports {{ type inet_service; flags interval; elements = {{ 22, 1000-1010, {port} }}; }}"
        ),
        "map marks { type inet_service : mark; elements = { 53 : 5, 80 : 8, 443 : 0x443 }; }"
            .to_owned(),
        format!("set counted {{ type inet_service; counter\nelements = {{ {port}, 7 }}; }}"),
        "map ends { type inet_service : verdict; flags interval; elements = { 1-99 : continue, 443 : accept, 20000-21000 : drop }; }".to_owned(),
        "map others { type inet_service : mark; elements = { 53 : 5, 80 : 8, * : 9 }; }".to_owned(),
        "set fresh { type inet_service; flags dynamic,timeout; timeout 1h; }".to_owned(),
        "map sizes { type inet_service : mark; flags dynamic; }".to_owned(),
    ];
    if v4 {
        sets.extend([
            "set nets { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 192.168.5.6, 198.51.100.0-198.51.100.100 }; }".to_owned(),
            "set flows { type ipv4_addr . inet_service; flags interval; elements = { 10.1.0.0/16 . 1000-2000, 8.8.8.8 . 53 }; }".to_owned(),
            "map ways { typeof ip saddr . ip daddr . th dport : meta mark; flags interval; elements = { 10.0.0.0/8 . 8.8.8.8 . 1-1023 : 1, 0.0.0.0/0 . 10.1.1.0/24 . 53 : 2, 192.168.0.0/16 . 0.0.0.0/0 . 0-65535 : 3 }; }".to_owned(),
            "set both { type ipv4_addr . inet_service; elements = { 8.8.8.8 . 53, 10.1.1.1 . 443 }; }".to_owned(),
            "set seen { type ipv4_addr; flags dynamic; elements = { 8.8.8.8 }; }".to_owned(),
            "map latest { type ipv4_addr : inet_service; flags dynamic; }".to_owned(),
        ]);
    }
    if v6 {
        sets.push("set nets6 { type ipv6_addr; flags interval; elements = { 2001:db8::/112, 2001:db8::1:0 }; }".to_owned());
    }
    // nft 1.0.6 refuses two ranges that touch.
    sets.iter()
        .map(|set| {
            set.replace("1000-1010, 1000 ", "1000-1010 ")
                .replace("1000-1010, 1005 ", "1000-1010 ")
                .replace("22, 1000-1010, 22 ", "22, 1000-1010 ")
                .replace("{ 7, 7 }", "{ 7 }")
        })
        .collect()
}

/// What is looked up.
pub(crate) fn condition(rng: &mut Rng, not: &str, v4: bool) -> String {
    let (side, port) = (rng.pick(&["saddr", "daddr"]), rng.pick(&["sport", "dport"]));
    match rng.below(if v4 { 7 } else { 3 }) {
        0 => format!("th {port} {not}@counted"),
        1 => format!("th {port} {not}@fresh"),
        2 => format!("tcp {port} {not}@marks"),
        3 => format!("ip {side} {not}@seen"),
        4 => format!("ip {side} . th {port} {not}@both"),
        5 => format!("ip {side} . th {port} {not}@flows"),
        _ => format!("ip saddr . ip daddr . th dport {not}@ways"),
    }
}

/// What is changed by a set, or in one.
pub(crate) fn change(rng: &mut Rng, v4: bool) -> String {
    let (side, port) = (rng.pick(&["saddr", "daddr"]), rng.pick(&["sport", "dport"]));
    match rng.below(if v4 { 16 } else { 8 }) {
        0 => format!("meta mark set th {port} map @others"),
        1 => format!("th {port} vmap @ends"),
        2 => format!("add @fresh {{ th {port} }}"),
        3 => format!("update @fresh {{ th {port} timeout 2h }}"),
        4 => format!("delete @fresh {{ th {port} }}"),
        5 => format!("add @sizes {{ th {port} : meta length }}"),
        6 => format!("update @sizes {{ th {port} : meta mark }}"),
        7 => format!("meta mark set th {port} map @sizes"),
        8 => "meta mark set ip saddr . ip daddr . th dport map @ways".to_owned(),
        9 => format!("add @seen {{ ip {side} }}"),
        10 => format!("delete @seen {{ ip {side} }}"),
        11 => format!("add @latest {{ ip {side} : th {port} }}"),
        12 => format!("update @latest {{ ip {side} : th {port} }}"),
        13 => format!("delete @latest {{ ip {side} }}"),
        14 => format!("tcp dport set ip {side} map @latest"),
        _ => format!("add @seen {{ ip {side} }} counter"),
    }
}
