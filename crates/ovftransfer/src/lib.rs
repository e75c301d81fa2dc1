//! Transfer engine between VMware vSphere and OVF/OVA packages.
