//! The Merkle tree of RFC 9162, section 2.1: SHA-256, leaves prefixed 0x00, nodes 0x01.

use std::ops::Range;

use aws_lc_rs::digest::{Context, SHA256};

/// 32 bytes of SHA-256.
pub type Hash = [u8; 32];

fn finish(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of a leaf: SHA-256 of `0x00 ‖ entry`. The prefix keeps an entry from
/// being read as a node.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(entry);
    finish(context)
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    finish(context)
}

/// A tree as far as appending needs it: the roots of its perfect subtrees, the
/// largest first. Grows with the logarithm of its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    edge: Vec<Hash>,
}

impl Tree {
    /// Takes up a tree again; `None` when the edge does not belong to that size.
    pub fn resume(size: u64, edge: Vec<Hash>) -> Option<Self> {
        (size.count_ones() as usize == edge.len()).then_some(Self { size, edge })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, the largest first.
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Every trailing one of the size is a perfect subtree to merge with.
        for _ in 0..self.size.trailing_ones() {
            let left = self.edge.pop().expect("one subtree for each bit of the size");
            hash = node_hash(&left, &hash);
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The root; of an empty tree, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        match subtrees.next() {
            None => finish(Context::new(&SHA256)),
            Some(last) => subtrees.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// The subtrees whose roots prove that a leaf is in a tree, in the order of the proof
/// (RFC 9162, section 2.1.3.1), each as the range of its leaves.
///
/// `None` when the tree has no such leaf.
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut whole, mut ranges) = (0..size, Vec::new());
    while whole.end - whole.start > 1 {
        let middle = middle(&whole);
        let (left, right) = (whole.start..middle, middle..whole.end);
        if index < middle {
            ranges.push(right);
            whole = left;
        } else {
            ranges.push(left);
            whole = right;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The subtrees whose roots prove that a tree of `first` leaves is the beginning of
/// one of `second` leaves, in the order of the proof (RFC 9162, section 2.1.4.1).
///
/// `None` where there is nothing to prove: no first leaf, or fewer in the second tree.
pub fn consistency_ranges(first: u64, second: u64) -> Option<Vec<Range<u64>>> {
    if first == 0 || first > second {
        return None;
    }
    let (mut whole, mut ranges) = (0..second, Vec::new());
    while first < whole.end {
        let middle = middle(&whole);
        let (left, right) = (whole.start..middle, middle..whole.end);
        if first <= middle {
            ranges.push(right);
            whole = left;
        } else {
            ranges.push(left);
            whole = right;
        }
    }
    // The subtree that ends with the first tree. When it is that tree, its root is known.
    if whole.start > 0 {
        ranges.push(whole);
    }
    ranges.reverse();
    Some(ranges)
}

/// The roots of ranges that do not overlap, from one pass over the leaves of the whole
/// tree, in memory that grows with the logarithm of its size.
///
/// `None` when there are too few leaves.
pub fn roots(ranges: &[Range<u64>], leaves: impl IntoIterator<Item = Hash>) -> Option<Vec<Hash>> {
    let mut subtrees = Subtrees::new(ranges.to_vec());
    for (at, leaf) in (0..).zip(leaves) {
        subtrees.push(at, leaf);
    }
    subtrees.roots()
}

/// Subtrees over ranges that do not overlap, while the leaves of the whole tree pass by.
#[derive(Debug)]
pub(crate) struct Subtrees(Vec<(Range<u64>, Tree)>);

impl Subtrees {
    pub(crate) fn new(ranges: Vec<Range<u64>>) -> Self {
        Self(ranges.into_iter().map(|range| (range, Tree::default())).collect())
    }

    /// The leaf at this place of the whole tree; each has to pass, in order.
    pub(crate) fn push(&mut self, at: u64, leaf: Hash) {
        if let Some((_, tree)) = self.0.iter_mut().find(|(range, _)| range.contains(&at)) {
            tree.push(leaf);
        }
    }

    /// Their roots; `None` when there were too few leaves.
    pub(crate) fn roots(&self) -> Option<Vec<Hash>> {
        let root = |(range, tree): &(Range<u64>, Tree)| {
            (tree.size() == range.end - range.start).then(|| tree.root())
        };
        self.0.iter().map(root).collect()
    }
}

/// Where a tree with at least two leaves divides: behind the largest power of two that
/// is smaller than their number.
fn middle(whole: &Range<u64>) -> u64 {
    whole.start + (1 << (whole.end - whole.start - 1).ilog2())
}

/// Whether `path` proves that the leaf with this hash stands at `index` of the tree
/// with `size` leaves and this root (RFC 9162, section 2.1.3.2).
pub fn inclusion_holds(leaf: Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for step in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `path` proves that the tree of `first` leaves is the beginning of the
/// tree of `second` leaves (RFC 9162, section 2.1.4.2).
pub fn consistency_holds(
    first: u64,
    second: u64,
    first_root: &Hash,
    second_root: &Hash,
    path: &[Hash],
) -> bool {
    if first == 0 || first > second {
        return false;
    }
    if first == second {
        return path.is_empty() && first_root == second_root;
    }
    let (mut node, mut last) = (first - 1, second - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A first tree that is itself a perfect subtree is its own first step.
    let (start, rest) = match path.split_first() {
        _ if first.is_power_of_two() => (*first_root, path),
        Some((start, rest)) => (*start, rest),
        None => return false,
    };
    let (mut old, mut new) = (start, start);
    for step in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old = node_hash(step, &old);
            new = node_hash(step, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first_root && new == *second_root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 9162, section 2.1.1, word for word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => finish(Context::new(&SHA256)),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// The largest power of two smaller than `n`.
    fn split(n: usize) -> usize {
        n.next_power_of_two() / 2
    }

    /// Section 2.1.3.1.
    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut path, sibling) = if index < left.len() {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - left.len(), right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// Section 2.1.4.1.
    fn naive_consistency(first: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if first == leaves.len() {
            return if whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut path, sibling) = if first <= left.len() {
            (naive_consistency(first, left, whole), naive_root(right))
        } else {
            (naive_consistency(first - left.len(), right, false), naive_root(left))
        };
        path.push(sibling);
        path
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn what_cannot_be_proven_has_no_proof() {
        assert_eq!(inclusion_ranges(0, 0), None);
        assert_eq!(inclusion_ranges(5, 5), None);
        assert_eq!(consistency_ranges(0, 5), None);
        assert_eq!(consistency_ranges(6, 5), None);
        assert_eq!(inclusion_ranges(0, 1), Some(vec![]));
        assert_eq!(consistency_ranges(5, 5), Some(vec![]));
        // The numbers of RFC 9162, section 2.1.5: seven leaves.
        assert_eq!(inclusion_ranges(3, 7), Some(vec![2..3, 0..2, 4..7]));
        assert_eq!(consistency_ranges(3, 7), Some(vec![2..3, 3..4, 0..2, 4..7]));
        assert_eq!(consistency_ranges(4, 7), Some(std::iter::once(4..7).collect()));
        assert_eq!(consistency_ranges(6, 7), Some(vec![4..6, 6..7, 0..4]));
    }

    #[test]
    fn known_answers() {
        // The hash of nothing, and of the empty leaf, as RFC 6962's own tests have them.
        let hex = |hash: Hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(Tree::default().root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(hex(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }

    proptest! {
        #[test]
        fn growing_leaf_by_leaf_gives_the_root_of_the_definition(count in 0_usize..200) {
            let mut tree = Tree::default();
            for leaf in leaves(count) {
                tree.push(leaf);
            }
            prop_assert_eq!(tree.root(), naive_root(&leaves(count)));
            let resumed = Tree::resume(tree.size(), tree.edge().to_vec());
            prop_assert_eq!(resumed, Some(tree));
        }

        #[test]
        fn inclusion_holds_for_the_right_leaf_only(count in 1_usize..100, at in 0_usize..100, other in 0_usize..100) {
            let (at, other) = (at % count, other % count);
            let all = leaves(count);
            let (path, root) = (naive_path(at, &all), naive_root(&all));
            let ranges = inclusion_ranges(at as u64, count as u64).expect("there is such a leaf");
            prop_assert_eq!(roots(&ranges, all.iter().copied()), Some(path.clone()));
            prop_assert_eq!(roots(&ranges, all.iter().take(count - 1).copied()).is_some(), at + 1 == count);
            prop_assert!(inclusion_holds(all[at], at as u64, count as u64, &path, &root));
            if other != at {
                prop_assert!(!inclusion_holds(all[other], at as u64, count as u64, &path, &root));
                prop_assert!(!inclusion_holds(all[at], other as u64, count as u64, &path, &root));
            }
        }

        #[test]
        fn consistency_holds_for_a_true_beginning_only(first in 1_usize..80, more in 0_usize..80) {
            let all = leaves(first + more);
            let (second, path) = (all.len(), naive_consistency(first, &all, true));
            let (old, new) = (naive_root(&all[..first]), naive_root(&all));
            let ranges = consistency_ranges(first as u64, second as u64).expect("something to prove");
            prop_assert_eq!(roots(&ranges, all.iter().copied()), Some(path.clone()));
            prop_assert!(consistency_holds(first as u64, second as u64, &old, &new, &path));
            let forged = leaf_hash(b"forged");
            prop_assert!(!consistency_holds(first as u64, second as u64, &forged, &new, &path));
            prop_assert!(!consistency_holds(first as u64, second as u64, &old, &forged, &path));
        }
    }
}
