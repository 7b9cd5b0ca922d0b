//! Network address translation over `conntrack`'s flows: binding and rewriting (docs/architecture.md).
