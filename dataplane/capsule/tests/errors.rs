//! What a wrong device string, a missing driver, interface or a second start say: the device by its name, and a remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use capsule::{
    Eal, EalConfig, Error, IdlePolicy, MbufPool, MbufPools, Port, PortConfig, PortIo, Runtime,
};
use common::{eal, own_network};

#[test]
fn errors_name_the_device_and_the_remedy() {
    let pools = MbufPools::new("test", 1023, 32);
    assert!(matches!(MbufPool::new("early", 1023, 32, None), Err(Error::NotStarted)));
    let eal = eal();
    assert!(matches!(Eal::start(&EalConfig::default()), Err(Error::AlreadyStarted)));

    let open = |device: &str| Port::open(&PortConfig::new("p", device), &pools).expect_err(device);
    let text = |device: &str| open(device).to_string();

    let error = open("net_nosuch0");
    assert!(
        matches!(&error, Error::MissingDriver { driver, .. } if driver == "net_nosuch"),
        "{error}"
    );
    assert!(
        error.to_string().contains("\"net_nosuch0\"")
            && error.to_string().contains("librte-net-nosuch23"),
        "{error}"
    );

    let error = text("gigantic");
    assert!(
        error.contains("bad device \"gigantic\": it is neither a PCI address nor a virtual device"),
        "{error}"
    );
    let error = text("0000:7f:1f.7");
    assert!(error.contains("bad device \"0000:7f:1f.7\": there is no such PCI device"), "{error}");
    let error = text("net_null0,nosuchkey=1");
    assert!(error.contains("\"net_null0,nosuchkey=1\""), "{error}");
    let error = text("net_null0,copy");
    assert!(error.contains("arguments are written key=value"), "{error}");
    // What DPDK says about a bad argument comes along.
    let error = text("net_af_packet0");
    assert!(error.contains("net_af_packet0") && error.contains("DPDK says"), "{error}");

    if own_network() {
        let error = open("net_af_packet0,iface=nosuch0");
        assert!(
            matches!(&error, Error::NoSuchInterface { interface, .. } if interface == "nosuch0"),
            "{error}"
        );
        assert!(error.to_string().contains("no network interface nosuch0"), "{error}");
    }

    // A socket that another process listens on is left alone.
    let path = std::env::temp_dir().join(format!("capsule-errors-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = open(&format!("net_vhost0,iface={}", path.display()));
    assert!(matches!(error, Error::SocketInUse { .. }), "{error}");
    assert!(path.exists());
    drop(listener);
    std::fs::remove_file(&path).unwrap();

    // The same device can be opened once a failure is mended, and again after it is closed.
    for _ in 0..2 {
        let port = Port::open(&PortConfig::new("p", "net_ring7"), &pools).unwrap();
        let io = PortIo::for_workers(std::slice::from_ref(&port), &[0], &pools);
        assert!(matches!(io, Err(Error::PortStopped { .. })), "not before the start");
        port.start().unwrap();
        let ports = [port];
        let io = PortIo::for_workers(&ports, &[0], &pools).unwrap();
        assert!(matches!(PortIo::for_workers(&ports, &[0], &pools), Err(Error::InUse { .. })));
        drop(io);
    }

    // An MTU beyond one segment needs a device that scatters.
    let config = PortConfig {
        mtu: 3000,
        ..PortConfig::new("p", "net_pcap0,tx_pcap=/dev/null,rx_pcap=/dev/null")
    };
    let error = Port::open(&config, &pools).expect_err("no pcap file");
    assert!(error.to_string().contains("net_pcap0"), "{error}");

    // Memory: 64 MiB do not hold this.
    let error = MbufPool::new("huge", 1 << 20, 32, None).unwrap_err();
    assert!(matches!(error, Error::NoMemory { .. }), "{error}");
    assert!(error.to_string().contains("raise memory or lower mbufs"), "{error}");

    // A core that does not exist.
    let error = Runtime::spawn(&[4095], IdlePolicy::Poll, std::time::Instant::now(), vec![|_| 0])
        .unwrap_err();
    assert!(error.to_string().contains("core 4095 cannot run a worker"), "{error}");

    // When the last user is gone, DPDK is cleaned up, and does not start again.
    drop((pools, eal));
    assert!(matches!(MbufPool::new("late", 1023, 32, None), Err(Error::NotStarted)));
    assert!(matches!(Eal::start(&EalConfig::default()), Err(Error::AlreadyStarted)));
}
