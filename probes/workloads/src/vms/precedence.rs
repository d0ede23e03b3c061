// SPDX-License-Identifier: Apache-2.0
//! Whose an id is when two machines want it.
//!
//! A command line is only words: whoever may start a process may give it another one's UUID and name. What the host itself says of
//! a process cannot be made up: libvirt's state names its pid, or it is in a cgroup of machines at the top of the tree, where
//! only root makes any.

use super::{Member, VmNames};
use attribution::model::VmId;

impl VmNames {
    /// Takes the ids of machines that the host vouches for from those that nobody vouches for. They choose anew.
    pub(super) fn make_way(&mut self) {
        let wants = |member: &Member| {
            let id = member.told.best_id().filter(|_| member.vouched)?;
            let is_apart = member.vm.as_ref() != Some(&id) && self.machines.is_only_claimed(&id);
            is_apart.then_some(id)
        };
        let wanted: Vec<VmId> = self.members.values().filter_map(wants).collect();
        if wanted.is_empty() {
            return;
        }
        for member in self.members.values_mut() {
            let best = member.told.best_id().filter(|_| member.vouched);
            let is_in_the_way = |id: &mut VmId| match &best {
                // It goes from the id that it had to take.
                Some(best) => best != id && wanted.contains(best),
                None => wanted.contains(id),
            };
            if let Some(vm) = member.vm.take_if(is_in_the_way) {
                self.machines.leave(&vm, !member.ended);
                member.made = None;
            }
        }
    }
}
