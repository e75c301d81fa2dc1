//! The part of the vSphere API that moves virtual machines: session, inventory, leases.
