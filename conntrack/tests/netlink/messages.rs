//! Messages that no tool sends: the same answers and the same errors as the kernel.

use crate::rig::{On, Rig};

#[test]
fn answers_to_messages_by_hand_are_the_kernels() {
    let Some(rig) = Rig::new(1000) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netlink/messages.py");
    let [kernel, ours] = [On::Kernel, On::Ours].map(|on| rig.tool(on, "python3", &[script], ""));
    for done in [&kernel, &ours] {
        assert!(done.out.ends_with("end\n"), "{}{}", done.out, done.err);
    }
    let mut question = "";
    let mut different = Vec::new();
    for (kernel, ours) in kernel.out.lines().zip(ours.out.lines()) {
        if !kernel.starts_with(' ') {
            question = kernel;
        }
        if kernel != ours {
            different.push(format!("{question}\n  kernel: {kernel}\n  ours:   {ours}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(kernel.out.lines().count(), ours.out.lines().count());
}
