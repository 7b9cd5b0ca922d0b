//! The control side's view of interfaces, routes and neighbours, and the publishing of forwarding tables from it.

mod change;

pub use change::{
    Change, IfIndex, Iface, NeighbourState, NextHop, Prefix, Route, RouteKind, RouteTable, VlanTag,
};
