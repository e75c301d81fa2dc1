//! Stream-optimized VMDK: structure check, grains, writer.
