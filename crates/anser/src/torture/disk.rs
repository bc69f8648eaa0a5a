//! The disk under the server: an ext4 of its own in a file, which can be filled, and which can lose
//! its power. Needs root. Without it the data is in a plain folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::fault::system;
use crate::disk::free_bytes;

/// Size of the disk: room for what a run writes, and small enough to fill at once.
const DISK_BYTES: u64 = 3 << 30;
/// What the server needs free; below it commands are refused. The default floor is for larger
/// disks.
pub(super) const FLOOR_BYTES: u64 = 128 << 20;

/// A mounted disk. Dropping it unmounts it.
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// Makes one in `folder` and mounts it.
    ///
    /// # Errors
    /// A tool failed, most likely for want of rights.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (image, mount) = (folder.join("disk.img"), folder.join("disk"));
        fs::File::create(&image)?.set_len(DISK_BYTES)?;
        fs::create_dir_all(&mount)?;
        // No lazy initialisation: a kernel thread would write behind the run's back.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        system(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", options]).arg(&image))?;
        let disk = Self { image, mount };
        disk.mount()?;
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        system(mount.args(["-o", "loop"]).arg(&self.image).arg(&self.mount)).map(drop)
    }

    /// Cuts the power: what was not synced is gone, and nothing can be written any more. The file
    /// system is shut down without writing its log (`EXT4_IOC_SHUTDOWN` with
    /// `EXT4_GOING_FLAGS_NOLOGFLUSH`).
    ///
    /// # Errors
    /// A tool failed.
    pub(super) fn cut_power(&self) -> Result<()> {
        // perl is on every Debian; the call itself would need unsafe code here.
        let shutdown = r#"open(my $d, "<", $ARGV[0]) or die $!;
            my $flag = pack("L", 2); ioctl($d, 0x8004587D, $flag) or die $!;"#;
        system(Command::new("perl").args(["-e", shutdown]).arg(&self.mount)).map(drop)
    }

    /// The power is back: what the file system's log has is there again. No process may hold a file
    /// on it.
    ///
    /// # Errors
    /// A tool failed.
    pub(super) fn power_back(&self) -> Result<()> {
        system(Command::new("umount").arg(&self.mount))?;
        self.mount()
    }

    /// Fills it until only `left` bytes are free.
    ///
    /// # Errors
    /// The file system says no.
    pub(super) fn fill(&self, left: u64) -> Result<()> {
        let file = fs::File::create(self.ballast())?;
        let bytes = free_bytes(&self.mount)?.saturating_sub(left);
        let filled = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        // The server writes at the same time: its bytes may be those that are missing.
        match filled {
            Ok(()) | Err(rustix::io::Errno::NOSPC) => Ok(()),
            Err(error) => Err(error).context("filling the disk"),
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// The file system says no.
    pub(super) fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: somebody may still look into it, and the run is over.
        if let Err(error) = system(Command::new("umount").arg("-l").arg(&self.mount)) {
            eprintln!("{} could not be unmounted: {error:#}", self.mount.display());
        }
    }
}
