//! What tools print, without what is another at each run: ids, port ids, seconds, order.

/// Numbers behind these words differ.
const DIFFERENT: [&str; 9] = [
    " id=",
    "-A -t ",
    "delta-time=",
    "<timeout>",
    "<id>",
    "<deltatime>",
    "<start>",
    "<stop>",
    "portid=",
];

/// The lines of an output, masked and sorted.
pub(crate) fn lines(out: &str) -> Vec<String> {
    let mut lines: Vec<String> = out.lines().map(line).collect();
    lines.sort();
    lines
}

/// One line, masked.
pub(crate) fn line(line: &str) -> String {
    let mut line = line.to_owned();
    for word in DIFFERENT {
        let mut from = 0;
        while let Some(at) = line[from..].find(word) {
            from += at + word.len();
            let digits = line[from..].chars().take_while(char::is_ascii_digit).count();
            line.replace_range(from..from + digits, "N");
        }
    }
    for word in ["[start=", "[stop="] {
        if let Some(at) = line.find(word).map(|at| at + word.len()) {
            let end = line[at..].find(']').map_or(line.len(), |end| at + end);
            line.replace_range(at..end, "N");
        }
    }
    seconds(&line)
}

/// Masks the seconds that a flow has left: behind the protocol's name and number.
fn seconds(line: &str) -> String {
    let mut out = String::new();
    if line.starts_with("-A ") {
        return line.to_owned();
    }
    let mut numbers = 0;
    let mut rest = line;
    let protocols = ["tcp ", "udp ", "icmp ", "icmpv6 ", "sctp ", "gre ", "udplite ", "unknown "];
    let Some(at) = protocols.iter().filter_map(|name| line.find(name)).min() else {
        return line.to_owned();
    };
    out.push_str(&line[..at]);
    rest = &rest[at..];
    for word in rest.split_inclusive(' ') {
        let number = word.trim().parse::<u32>().is_ok();
        numbers += u32::from(number);
        if number && numbers == 2 { out.push_str("N ") } else { out.push_str(word) }
    }
    out
}

#[test]
fn what_differs_is_masked_and_nothing_else() {
    let before =
        "tcp      6 49 ESTABLISHED src=1.1.1.1 dport=20 [ASSURED] mark=7 delta-time=3 use=1 id=5";
    let after =
        "tcp      6 N ESTABLISHED src=1.1.1.1 dport=20 [ASSURED] mark=7 delta-time=N use=1 id=N";
    assert_eq!(line(before), after);
    assert_eq!(line("    [NEW] unknown  99 50 src=1.1.1.1"), "    [NEW] unknown  99 N src=1.1.1.1");
    assert_eq!(line("<id>12</id><mark>3</mark>"), "<id>N</id><mark>3</mark>");
}
