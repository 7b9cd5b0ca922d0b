//! The committed bindings are what the installed 22.11 headers give: `cargo test -p dpdk-sys --features regenerate`.
#![cfg(feature = "regenerate")]

const COMMITTED: [&str; 2] =
    [include_str!("../src/generated/bindings.rs"), include_str!("../src/generated/wrappers.c")];
const USED: [&str; 2] = [
    include_str!(concat!(env!("DPDK_SYS_GENERATED"), "/bindings.rs")),
    include_str!(concat!(env!("DPDK_SYS_GENERATED"), "/wrappers.c")),
];

#[test]
fn committed_bindings_match_the_headers() {
    if !dpdk_sys::REGENERATED {
        println!(
            "SKIPPED: libclang is absent, nothing was regenerated (apt-get install libclang-dev)"
        );
        return;
    }
    if (dpdk_sys::RTE_VER_YEAR, dpdk_sys::RTE_VER_MONTH) != (22, 11) {
        println!("SKIPPED: the installed DPDK is not 22.11, whose bindings are committed");
        return;
    }
    for (committed, used) in COMMITTED.iter().zip(USED) {
        for (number, (ours, theirs)) in committed.lines().zip(used.lines()).enumerate() {
            assert_eq!(ours, theirs, "line {}: run dataplane/dpdk-sys/regenerate.sh", number + 1);
        }
        assert_eq!(committed.len(), used.len(), "run dataplane/dpdk-sys/regenerate.sh");
    }
}
