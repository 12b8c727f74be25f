//! Free lists: the blocks of a class that have room, and the empty blocks.
//!
//! A block joins a list at its head, so that what was freed last is used first
//! (its pages are dirty already). The links are hints: a kill between two writes
//! may leave a list cut short or a block on none, never a block given out twice,
//! since whoever takes from a list looks at the block's own head. What is lost
//! to the lists is found by the next generation's pass.

use super::rules::{Rule, holds};
use super::writer::Writer;
use crate::error::Result;
use crate::format::BLOCK_SIZE;
use crate::format::block::{BlockHead, Use};

/// Number of the list of empty blocks.
pub(crate) const EMPTY: usize = 0;

impl Writer<'_> {
    /// The head of a block, unless the block is outside the file or its head
    /// breaks a rule.
    pub(crate) fn block_head(&self, block: u32) -> Result<Option<BlockHead>> {
        if block == 0 || block >= self.blocks {
            return Ok(None);
        }
        let offset = u64::from(block) * BLOCK_SIZE;
        Ok(BlockHead::decode(&self.line(offset)?, offset, self.seal()))
    }

    pub(crate) fn write_head(&self, block: u32, head: &BlockHead) -> Result<()> {
        let offset = u64::from(block) * BLOCK_SIZE;
        self.write(&head.encode(offset, self.seal()), offset)
    }

    /// Whether the block's bitmap can be trusted to show all that is taken
    /// (invariant 8).
    pub(crate) fn is_trusted(&self, head: &BlockHead) -> bool {
        let current =
            head.generation == self.control.generation || !holds(Rule::OldBitmapsGiveNothing);
        current && (head.complete || !holds(Rule::PartialBitmapsGiveNothing))
    }

    /// Extents of a block in this use; 1 for a block used as a whole.
    pub(crate) fn capacity(&self, head: &BlockHead) -> u16 {
        match head.usage {
            Use::Extents(class) => self.file.records.classes.per_block(class),
            Use::Unused | Use::Large | Use::Segment | Use::Table => 1,
        }
    }

    /// The list that a block belongs on.
    fn list_for(&self, head: &BlockHead) -> Option<usize> {
        if !self.is_trusted(head) || matches!(head.usage, Use::Segment | Use::Table) {
            return None;
        }
        if head.bitmap.is_empty() {
            return Some(EMPTY);
        }
        match head.usage {
            Use::Extents(class) if head.bitmap.count() < self.capacity(head).into() => {
                Some(usize::from(class.code()))
            }
            _ => None,
        }
    }

    /// Writes a changed head and moves the block to the list it now belongs on.
    pub(crate) fn update_block(
        &mut self,
        block: u32,
        before: &BlockHead,
        mut head: BlockHead,
    ) -> Result<()> {
        let from = if before.listed { self.list_for(before) } else { None };
        let to = self.list_for(&head);
        if from == to {
            return self.write_head(block, &head);
        }
        if let Some(list) = from {
            self.unlink(block, before, list)?;
        }
        head.listed = to.is_some();
        let Some(list) = to else {
            return self.write_head(block, &head);
        };
        // A head that an older generation left would lead astray.
        let head_now = self.lists()?.get(list);
        let next = if self.member(head_now, list)?.is_some() { head_now } else { 0 };
        head.next = next;
        head.previous = 0;
        self.write_head(block, &head)?;
        self.set_list(list, block)?;
        if let Some(mut follower) = self.member(next, list)? {
            follower.previous = block;
            self.write_head(next, &follower)?;
        }
        Ok(())
    }

    /// Takes a block out of the chain. Neighbours that do not know it are left
    /// alone.
    fn unlink(&mut self, block: u32, head: &BlockHead, list: usize) -> Result<()> {
        if let Some(mut follower) = self.member(head.next, list)?
            && follower.previous == block
        {
            follower.previous = head.previous;
            self.write_head(head.next, &follower)?;
        }
        if self.lists()?.get(list) == block {
            return self.set_list(list, head.next);
        }
        if let Some(mut leader) = self.member(head.previous, list)?
            && leader.next == block
        {
            leader.next = head.next;
            self.write_head(head.previous, &leader)?;
        }
        Ok(())
    }

    /// The head of a block that is on this list.
    pub(crate) fn member(&self, block: u32, list: usize) -> Result<Option<BlockHead>> {
        let head = self.block_head(block)?;
        let is_member = |head: &BlockHead| head.listed && self.list_for(head) == Some(list);
        Ok(head.filter(|head| is_member(head) || !holds(Rule::ListMembersChecked)))
    }

    pub(crate) fn set_list(&mut self, list: usize, block: u32) -> Result<()> {
        let (line, offset) = self.lists()?.set(list, block);
        self.write(&line, offset)
    }
}
