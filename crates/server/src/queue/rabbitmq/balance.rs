//! Which transfer works off which partition, decided by each node from the same list.

use anser_proto::NodeId;
use sha2::{Digest as _, Sha256};

/// The node that each partition prefers: by rendezvous hashing, so that few partitions move when a
/// node comes or goes, but no node gets more than its share.
///
/// # Panics
/// Without a node.
pub(super) fn preferred(partitions: usize, nodes: &[NodeId]) -> Vec<NodeId> {
    let share = partitions.div_ceil(nodes.len());
    let mut held = vec![0; nodes.len()];
    let choose = |partition| {
        let free = (0..nodes.len()).filter(|node| held[*node] < share);
        let best = free.max_by_key(|node| weight(partition, nodes[*node]));
        let best = best.expect("the shares together hold all partitions");
        held[best] += 1;
        nodes[best]
    };
    (0..partitions).map(choose).collect()
}

/// All nodes must agree on this.
fn weight(partition: usize, node: NodeId) -> [u8; 32] {
    Sha256::digest(format!("{partition} {node}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    #[test]
    fn each_node_gets_its_share() {
        for count in 1..=9 {
            let nodes = nodes(1..=count);
            let preferred = preferred(8, &nodes);
            for node in &nodes {
                let held = preferred.iter().filter(|one| *one == node).count();
                assert!(held <= 8_usize.div_ceil(nodes.len()), "{count} nodes: {preferred:?}");
            }
        }
    }

    #[test]
    fn a_lost_nodes_partitions_move_and_few_others() {
        let before = preferred(64, &nodes([3, 5, 7, 9]));
        let after = preferred(64, &nodes([3, 5, 9]));
        let both = || before.iter().zip(&after);
        assert!(after.iter().all(|node| *node != NodeId(7)));
        let moved = both().filter(|(was, is)| **was != NodeId(7) && was != is).count();
        assert!(moved <= 16, "{moved} of 48 moved");
    }
}
