//! OVF packages on disk: envelope, references, manifest, OVA layout.
