// SPDX-License-Identifier: Apache-2.0
//! What a process's children ran that nobody saw alive, from its child time (`cutime` and `cstime`). Reads no file.
//!
//! The kernel adds a child's whole CPU time, and the child time that the child had itself, to its parent's child time in
//! the moment in which the parent waits for it and before it leaves `/proc` (`wait_task_zombie` in kernel/exit.c). So a
//! rise of it is the time of the children that ended, and of it we take what is known: the clocks of those that were in
//! the book. What is left ran in children that lived between two scans, or after the last look at one.
//!
//! It errs on the low side, for this time may have been paid before:
//! - Child times are read **before** the processes are listed. Whoever is in such a reading had left `/proc` by then, so the
//!   listing misses it and the same scan books its clock as known.
//! - What is known of the dead is booked with everyone who can have waited for them (`kin`). What never shows up in a reading
//!   made after the death is taken back (`read`): it was somebody else.
//! - Nobody waits for the children of a process that ignores SIGCHLD; their time is in no child time and stays unknown
//!   unless a cgroup counts it.
//! - A child out of a cgroup that counts leaves an unknown amount that the cgroup has paid: all that its parent shows until
//!   the next look but one is taken for that ([`ALL`]).
//! - Child time is cut to ticks twice; a base has the cut part added, since it may be in the first rise.

use super::HIDDEN_BY_TICKS;
use attribution::model::CpuNanos;

/// More than any reading: whatever shows up has been paid.
pub(super) const ALL: CpuNanos = CpuNanos::from_nanos(u64::MAX);

/// The child time of one process.
#[derive(Debug, Default)]
pub(super) struct ChildTime {
    /// As last read.
    seen: CpuNanos,
    /// How much of it is known: from before counting began, the clocks of known children, paid here, paid elsewhere.
    known: CpuNanos,
    /// Became known since the reading, and may be missing in it.
    fresh: CpuNanos,
}

impl ChildTime {
    /// Of a process that began to live after counting did: everything its children run is ours to pay.
    pub(super) fn from_birth() -> Self {
        Self::default()
    }

    /// Of a process that was there before: its children until now are not.
    pub(super) fn since(reading: CpuNanos) -> Self {
        Self {
            seen: reading,
            known: reading + HIDDEN_BY_TICKS,
            fresh: CpuNanos::ZERO,
        }
    }

    /// A new reading, made before the processes are listed.
    pub(super) fn read(&mut self, reading: CpuNanos) {
        self.seen = self.seen.max(reading);
        // The known dead had left /proc before this reading: they are in it, or nobody here waited for them.
        self.known = (self.known + self.fresh).min(self.seen + HIDDEN_BY_TICKS);
        self.fresh = CpuNanos::ZERO;
    }

    /// A child of which `time` was known is gone.
    pub(super) fn credit(&mut self, time: CpuNanos) {
        self.fresh += time;
    }

    /// Time that nobody has paid yet.
    pub(super) fn unpaid(&self) -> CpuNanos {
        self.seen.saturating_sub(self.accounted())
    }

    /// `time` of it has been paid.
    pub(super) fn pay(&mut self, time: CpuNanos) {
        self.known += time;
    }

    /// The cgroup's own counter pays all of it.
    pub(super) fn leave_to_the_cgroup(&mut self) {
        self.known = self.known.max(self.seen);
    }

    /// What the parent's child time will contain of it that is accounted for.
    pub(super) fn accounted(&self) -> CpuNanos {
        self.known + self.fresh
    }
}

/// By how much the busy time of one CPU can be off: `/proc/stat` cuts five counters of it to ticks of 10 ms. They are
/// sampled by the timer, too, which is of this size for a second on a CPU that is busy half of the time.
const BUSY_IS_OFF: i64 = 50_000_000;

/// Time that the node was busy and nobody was charged for: no more than this can have run unseen. It holds what a parent
/// cannot tell, such as a child that nobody saw enter a cgroup that counts (`docker exec`).
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Negative when more was charged than the ticks of `/proc/stat` say.
    left: i64,
    added: i64,
    off: i64,
}

impl Room {
    /// A new window, in which the node's `cpus` were busy for so long and so much was charged. What is left of one window
    /// goes into the next one, and no further: later time cannot have run in it. What was given on the ticks' error is
    /// owed until they make it up, so it is given once and not in each window.
    pub(super) fn open(&mut self, busy: CpuNanos, charged: CpuNanos, cpus: usize) {
        let signed = |time: CpuNanos| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.off = BUSY_IS_OFF.saturating_mul(i64::try_from(cpus).unwrap_or(i64::MAX));
        let old = self.left.min(self.added.max(0)).max(-self.off);
        self.added = signed(busy).saturating_sub(signed(charged));
        self.left = old.saturating_add(self.added);
    }

    /// As much of `wanted` as there is room for.
    pub(super) fn take(&mut self, wanted: CpuNanos) -> CpuNanos {
        let room = u64::try_from(self.left.saturating_add(self.off)).unwrap_or(0);
        let taken = wanted.min(CpuNanos::from_nanos(room));
        let signed = i64::try_from(taken.as_nanos()).unwrap_or(i64::MAX);
        self.left = self.left.saturating_sub(signed);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> CpuNanos {
        CpuNanos::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn children_that_nobody_saw_are_left_once_and_known_ones_are_not() {
        let mut children = ChildTime::from_birth();
        children.read(ms(500));
        children.credit(ms(100));
        assert_eq!(children.unpaid(), ms(400));
        children.pay(ms(400));
        assert_eq!(children.unpaid(), ms(0));
        children.read(ms(700));
        assert_eq!(children.unpaid(), ms(200));
    }

    #[test]
    fn a_known_child_counts_also_when_the_reading_came_before_it_was_waited_for() {
        let mut children = ChildTime::from_birth();
        children.read(ms(0));
        children.credit(ms(100));
        children.read(ms(110));
        assert_eq!(children.unpaid(), ms(10));
    }

    #[test]
    fn what_was_there_before_is_not_left_and_neither_is_what_ticks_hid_of_it() {
        let mut children = ChildTime::since(ms(1_000));
        children.read(ms(1_020));
        assert_eq!(children.unpaid(), ms(0));
        children.read(ms(1_050));
        assert_eq!(children.unpaid(), ms(30));
    }

    #[test]
    fn a_child_that_nobody_waited_for_hides_no_later_one() {
        let mut children = ChildTime::from_birth();
        children.read(ms(0));
        children.credit(ms(90_000));
        children.read(ms(50));
        assert_eq!(children.unpaid(), ms(0));
        // Of the 90 s at most what ticks may hide can still be in the reading.
        children.read(ms(100));
        assert_eq!(children.unpaid(), ms(30));
    }

    #[test]
    fn a_child_out_of_a_cgroup_that_counts_takes_all_until_the_next_reading() {
        let mut children = ChildTime::from_birth();
        children.read(ms(400));
        children.credit(ALL);
        assert_eq!(children.unpaid(), ms(0));
        children.read(ms(900));
        assert_eq!(children.unpaid(), ms(0));
        children.read(ms(1_000));
        assert_eq!(children.unpaid(), ms(80));
    }

    #[test]
    fn what_the_cgroup_pays_is_never_left_again() {
        let mut children = ChildTime::from_birth();
        children.read(ms(400));
        children.leave_to_the_cgroup();
        assert_eq!((children.unpaid(), children.accounted()), (ms(0), ms(400)));
        children.read(ms(300));
        assert_eq!(children.unpaid(), ms(0), "and nothing falls");
    }

    #[test]
    fn no_more_is_given_than_two_windows_had_room_for() {
        let mut room = Room::default();
        room.open(ms(100), ms(40), 0);
        assert_eq!((room.take(ms(50)), room.take(ms(50))), (ms(50), ms(10)));
        room.open(ms(100), ms(0), 0);
        room.open(ms(30), ms(0), 0);
        assert_eq!(room.take(ms(500)), ms(130), "this window and the one before");
        room.open(ms(100), ms(0), 0);
        room.open(ms(0), ms(0), 0);
        room.open(ms(30), ms(0), 0);
        assert_eq!(room.take(ms(500)), ms(30), "not the one before that");
    }

    #[test]
    fn what_the_ticks_may_be_off_is_given_once_and_again_when_they_have_made_it_up() {
        let mut room = Room::default();
        room.open(ms(0), ms(0), 2);
        assert_eq!((room.take(ms(70)), room.take(ms(70))), (ms(70), ms(30)));
        room.open(ms(10), ms(0), 2);
        assert_eq!(room.take(ms(70)), ms(10), "the rest is owed");
        room.open(ms(100), ms(0), 2);
        room.open(ms(0), ms(0), 2);
        assert_eq!(room.take(ms(500)), ms(100));
    }

    #[test]
    fn what_was_charged_too_much_is_owed_as_far_as_ticks_can_be_off() {
        let mut room = Room::default();
        room.open(ms(10), ms(30), 1);
        assert_eq!(room.take(ms(50)), ms(30));
        room.open(ms(10), ms(900), 1);
        assert_eq!(room.take(ms(5)), ms(0));
        room.open(ms(60), ms(0), 1);
        assert_eq!(room.take(ms(500)), ms(60));
    }
}
