//! Which extensions there are, and in which revisions (linux/netfilter/nf_tables_compat.h): `iptables-nft` asks before it sends a
//! `match` or a `target`.

use nfnetlink::message::NLM_F_MULTI;
use nfnetlink::{Client, Dump, Errno, Events, Message, NfGen, Reply, Result, Subsystem};

use crate::family::Family;
use crate::xt::{Role, best_revision};

/// `NFNL_SUBSYS_NFT_COMPAT`.
const SUBSYSTEM: u8 = 11;
/// `NFNL_MSG_COMPAT_GET`.
const GET: u8 = 0;
/// Bytes of a name, with its NUL (`NFT_COMPAT_NAME_MAX`).
const NAME_MAX: usize = 32;

const NAME: usize = 1;
const REVISION: usize = 2;
const ROLE: usize = 3;

/// The subsystem. It has no state: what there is stands in [`xt`](crate::xt).
#[derive(Debug)]
pub struct NftCompat;

impl Subsystem for NftCompat {
    fn id(&self) -> u8 {
        SUBSYSTEM
    }

    fn is_dump(&self, _message: &Message<'_>) -> bool {
        false
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _events: &mut Events,
    ) -> Result<()> {
        if message.command() != GET {
            return Err(nfnetlink::subsystem::unknown_command());
        }
        let nfgen = message.nfgen()?;
        let attrs: [_; 4] = message.attrs().table();
        let (Some(name), Some(revision), Some(role)) = (attrs[NAME], attrs[REVISION], attrs[ROLE])
        else {
            return Err(Errno::EINVAL.into());
        };
        let (terminated, number) = (name.data.ends_with(&[0]), role.u32()?);
        let revision = u8::try_from(revision.u32()?).map_err(|_| revision.error(Errno::ERANGE))?;
        if !terminated || name.data.len() > NAME_MAX {
            return Err(name.error(Errno::EINVAL));
        }
        let family = Family::from_number(nfgen.family).map_err(|_| Errno::EINVAL)?;
        if matches!(family, Family::Inet | Family::Netdev) {
            return Err(Errno::EINVAL.into());
        }
        let asked = if number == 1 { Role::Target } else { Role::Match };
        let text = name.str(NAME_MAX)?;
        let best = best_revision(asked, family, text, revision)?;
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(GET);
        let nfgen = NfGen { family: nfgen.family, version: 0, res_id: 0 };
        // Linux says "one of several" of this one answer.
        reply.message(kind, NLM_F_MULTI, nfgen, |out| {
            out.str(NAME as u16, text);
            out.u32(REVISION as u16, best.into());
            out.u32(ROLE as u16, number);
        });
        Ok(())
    }

    fn dump(&mut self, _message: &Message<'_>, _client: Client) -> Result<Box<dyn Dump>> {
        Err(Errno::EINVAL.into())
    }
}
