//! An embedded vCenter with NFC hosts, for tests of everything that moves virtual machines.
