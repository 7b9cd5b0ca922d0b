//! Rules in the usual laboratory: a ruleset, and how traffic fares under it.

use crate::{LabError, Process, Result, Trio, addresses::SERVER};
use std::time::Duration;

/// A small router's rules: sets, a verdict map, counters, reject in its forms. TCP port 7000 and ping pass; 7001 to 7003 are
/// refused, 7004 is dropped; datagrams to 7005 are counted.
pub const RULESET: &str = "
flush ruleset
table inet filter {
  set refused_ports { type inet_service; elements = { 7001 } }
  set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/25 } }
  counter greetings { }
  chain tcp_in {
    tcp dport @refused_ports counter reject with tcp reset
    tcp dport 7002 counter reject with icmpx admin-prohibited
    tcp dport 7003 counter reject with icmpx host-unreachable
    tcp dport 7004 counter drop
    counter accept
  }
  chain udp_in {
    udp dport 7005 counter name greetings
    accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ip6 nexthdr ipv6-icmp accept
    ip saddr != @friends ip daddr != @friends counter drop
    meta l4proto vmap { tcp : jump tcp_in, udp : jump udp_in, icmp : accept }
  }
}
";

/// 400 datagrams a second to port 9 pass.
pub const LIMITED: &str = "
flush ruleset
table ip t {
  chain limited {
    counter
    limit rate 400/second burst 20 packets counter accept
    drop
  }
  chain c {
    type filter hook forward priority 0;
    udp dport 9 jump limited
  }
}
";

impl Trio {
    /// Listens on the server's TCP ports 7000 to 7004, both families, until dropped.
    pub fn listen(&self) -> Result<Process> {
        let program = "import socket,time
kept=[]
for f in (socket.AF_INET, socket.AF_INET6):
  for p in range(7000,7005):
    s=socket.socket(f)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if f==socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(('',p)); s.listen(); kept.append(s)
print('listening')
time.sleep(120)";
        let mut listener = self.server.start(&["python3", "-u", "-c", program])?;
        listener.wait_for_output("listening", Duration::from_secs(10))?;
        Ok(listener)
    }

    /// How a TCP connection from the client ends: `ok`, `timeout`, or the error's name.
    pub fn connect(&self, target: &str, port: u16) -> Result<String> {
        let program = format!(
            "import socket,errno
try:
  s=socket.create_connection(('{target}',{port}),2)
  print('ok')
except TimeoutError: print('timeout')
except OSError as e: print(errno.errorcode[e.errno])"
        );
        Ok(self.client.run(&["python3", "-c", &program])?.0.trim().to_owned())
    }

    /// Sends datagrams from the client to the server, `rate` a second, or as fast as it goes for 0; the seconds that it took.
    pub fn send_udp(&self, port: u16, count: u32, bytes: u32, rate: u32) -> Result<f64> {
        let program = format!(
            "import socket,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
b=time.monotonic()
for n in range(1,{count}+1):
  s.sendto(bytes({bytes}),('{SERVER}',{port}))
  if {rate}:
    d=b+n/{rate}-time.monotonic()
    if d>0: time.sleep(d)
print(time.monotonic()-b)"
        );
        let text = self.client.run_for(&["python3", "-c", &program], Duration::from_secs(60))?.0;
        let shape = |_| LabError::Shape { what: "seconds".into(), text: text.clone() };
        text.trim().parse().map_err(shape)
    }

    /// How many packets passed a limit of 400 a second under [`LIMITED`], and how many should have.
    pub fn limited(&self) -> Result<(u64, f64)> {
        self.daemon.load(LIMITED)?;
        let seconds = self.send_udp(9, 10_000, 1, 2000)?;
        std::thread::sleep(Duration::from_millis(100));
        let counters = self.daemon.counters("list chain ip t limited")?;
        match counters[..] {
            // The burst passes, too.
            [[10_000, _], [passed, _]] => Ok((passed, seconds * 400.0 + 20.0)),
            _ => Err(LabError::Shape {
                what: "the limit's counters".into(),
                text: format!("{counters:?}"),
            }),
        }
    }
}
