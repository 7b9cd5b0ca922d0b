//! Connections in the usual laboratory: a stateful ruleset with masquerade and a port forward, and who sees whom through it.

use crate::{LabError, Netns, Result, Trio};
use std::time::Duration;

/// What a small router does: connections begin inside, which is hidden behind the router's address, and one port of it leads to
/// the client's port 7000.
pub const STATEFUL: &str = "
flush ruleset
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname lan accept
    ct status dnat counter accept
    counter
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname wan tcp dport 8080 dnat to 192.0.2.2:7000
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname wan masquerade
  }
}
";

/// The port of [`Trio::meet`]'s listener.
pub const PORT: u16 = 7000;

impl Trio {
    /// Connects from one namespace to a listener on port [`PORT`] in another, sends a word and gets it back. Returns who the
    /// listener saw, and how the one who connected ended: `ok`, `timeout`, or the error's name.
    pub fn meet(
        &self,
        from: &Netns,
        to: &Netns,
        (target, port): (&str, u16),
    ) -> Result<[String; 2]> {
        let listen = format!(
            "import socket
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('',{PORT})); s.listen(); print('listening')
s.settimeout(5)
try:
  c,peer=s.accept(); print('seen',peer[0]); c.sendall(c.recv(100)); c.recv(1)
except TimeoutError: print('seen nobody')"
        );
        let connect = format!(
            "import socket,errno
try:
  s=socket.create_connection(('{target}',{port}),2); s.sendall(b'word')
  print('ok' if s.recv(100)==b'word' else 'garbled')
except TimeoutError: print('timeout')
except OSError as e: print(errno.errorcode[e.errno])"
        );
        let mut listener = to.start(&["python3", "-u", "-c", &listen])?;
        listener.wait_for_output("listening", Duration::from_secs(10))?;
        let end = from.run(&["python3", "-c", &connect])?.0.trim().to_owned();
        let output = listener.finish(Duration::from_secs(10))?.0;
        let seen = output.lines().find_map(|line| line.strip_prefix("seen ")).map(str::to_owned);
        let seen = seen.ok_or_else(|| LabError::Shape {
            what: "whom the listener saw".into(),
            text: output.clone(),
        })?;
        Ok([seen, end])
    }

    /// What `conntrack -L` shows of the daemon.
    pub fn conntrack(&self, words: &[&str]) -> Result<Vec<String>> {
        let output = self.daemon.tool(&[&["conntrack", "-L"], words].concat())?.0;
        Ok(output.lines().filter(|line| line.contains("src=")).map(str::to_owned).collect())
    }
}
