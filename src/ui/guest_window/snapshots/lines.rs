//! How the tree of snapshots is drawn as lines of a list, with a rail at their left that branches.
//!
//! The way to where the guest is now goes straight down; every other branch leaves it to the right:
//!
//! ```text
//! ●      base
//! ├─●    tried something
//! │ ●    and went on
//! ●      another way
//! ◉      now
//! ```

use std::collections::HashSet;

use uuid::Uuid;

use crate::ui::backend::{Snapshot, Tree};

/// Branches further to the right than this are drawn in one column.
const MOST_COLUMNS: usize = 6;

/// What a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// A snapshot.
    Snapshot(&'a Snapshot),
    /// Where the guest is now.
    Now,
}

/// A line's part of the rail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rail {
    /// The columns at the left of its own through which another branch goes on.
    pub through: Vec<bool>,
    /// Its own column is joined to the line above.
    pub up: bool,
    /// Its own column is joined to the one at its left.
    pub branches: bool,
    /// Its own column goes on below.
    pub down: bool,
}

impl Rail {
    /// Its own column.
    pub fn column(&self) -> usize {
        self.through.len()
    }
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// What it stands for.
    pub node: Node<'a>,
    /// What is drawn at its left.
    pub rail: Rail,
}

/// The lines, from the oldest to where the guest is now.
pub fn lay_out(tree: &Tree) -> Vec<Line<'_>> {
    let mut layout = Layout { tree, way: way_to(tree), lines: Vec::new() };
    for root in layout.children(None) {
        layout.visit(root, Rail::default());
    }
    layout.lines
}

/// The current snapshot and those that lead to it.
fn way_to(tree: &Tree) -> HashSet<Uuid> {
    let mut way = HashSet::new();
    let mut next = tree.current;
    while let Some(snapshot) = next.and_then(|id| tree.get(id)).filter(|snapshot| way.insert(snapshot.id)) {
        next = snapshot.parent;
    }
    way
}

struct Layout<'a> {
    tree: &'a Tree,
    way: HashSet<Uuid>,
    lines: Vec<Line<'a>>,
}

impl<'a> Layout<'a> {
    /// What comes from the snapshot `of`, or from none; what leads to now is the last.
    fn children(&self, of: Option<Uuid>) -> Vec<Node<'a>> {
        let known = |id: Option<Uuid>| id.filter(|id| self.tree.get(*id).is_some());
        let of_this = self.tree.snapshots.iter().filter(|snapshot| known(snapshot.parent) == of);
        let (on_way, aside): (Vec<_>, Vec<_>) = of_this.partition(|snapshot| self.way.contains(&snapshot.id));
        let mut children: Vec<_> = aside.into_iter().chain(on_way).map(Node::Snapshot).collect();
        if known(self.tree.current) == of {
            children.push(Node::Now);
        }
        children
    }

    fn visit(&mut self, node: Node<'a>, rail: Rail) {
        let mut children = match node {
            Node::Snapshot(snapshot) => self.children(Some(snapshot.id)),
            Node::Now => Vec::new(),
        };
        let through = rail.through.clone();
        self.lines.push(Line { node, rail: Rail { down: !children.is_empty(), ..rail } });
        let last = children.pop();
        for child in children {
            let mut beside = through.clone();
            if beside.len() < MOST_COLUMNS {
                beside.push(true);
            }
            self.visit(child, Rail { through: beside, branches: true, ..Rail::default() });
        }
        if let Some(last) = last {
            self.visit(last, Rail { through, up: true, ..Rail::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use lodge::manager::definition::Definition;

    use super::*;

    /// Snapshots by their names, each with its parent's name.
    fn tree(snapshots: &[(&str, &str)], current: &str) -> Tree {
        let id = |name: &str| {
            let position = snapshots.iter().position(|(candidate, _)| *candidate == name)?;
            Some(Uuid::from_u128(position as u128 + 1))
        };
        let made = snapshots.iter().map(|(name, parent)| Snapshot {
            id: id(name).unwrap(),
            name: (*name).to_owned(),
            description: String::new(),
            created: 0,
            parent: id(parent),
            running: false,
            thumbnail: None,
            state: None,
            definition: Definition::new("snapshot"),
        });
        Tree { current: id(current), snapshots: made.collect(), ..Tree::default() }
    }

    /// The lines as a person would draw them.
    fn drawn(tree: &Tree) -> Vec<String> {
        let line = |Line { node, rail }: &Line<'_>| {
            let mut text = String::new();
            for (column, through) in rail.through.iter().enumerate() {
                let joins = rail.branches && column + 1 == rail.column();
                text += if joins {
                    "├─"
                } else if *through {
                    "│ "
                } else {
                    "  "
                };
            }
            let name = match node {
                Node::Snapshot(snapshot) => snapshot.name.as_str(),
                Node::Now => "now",
            };
            format!("{text}● {name}")
        };
        lay_out(tree).iter().map(line).collect()
    }

    #[test]
    fn a_chain_goes_straight_down() {
        let tree = tree(&[("a", ""), ("b", "a"), ("c", "b")], "c");

        assert_eq!(drawn(&tree), ["● a", "● b", "● c", "● now"]);
        let rails: Vec<_> = lay_out(&tree).into_iter().map(|line| (line.rail.up, line.rail.down)).collect();
        assert_eq!(rails, [(false, true), (true, true), (true, true), (true, false)]);
    }

    #[test]
    fn the_way_to_now_is_straight_and_other_branches_leave_it() {
        let tree = tree(&[("base", ""), ("tried", "base"), ("went on", "tried"), ("other", "base")], "other");

        assert_eq!(drawn(&tree), ["● base", "├─● tried", "│ ● went on", "● other", "● now"]);
    }

    #[test]
    fn branches_of_branches_are_further_to_the_right() {
        let tree = tree(&[("a", ""), ("b", "a"), ("c", "b"), ("d", "b")], "a");

        assert_eq!(drawn(&tree), ["● a", "├─● b", "│ ├─● c", "│ ● d", "● now"]);
    }

    #[test]
    fn what_has_lost_its_parent_begins_anew_and_nothing_is_left_out() {
        let mut tree = tree(&[("a", ""), ("b", "a")], "");
        tree.snapshots[1].parent = Some(Uuid::from_u128(99));

        assert_eq!(drawn(&tree), ["● a", "● b", "● now"]);
    }

    #[test]
    fn very_deep_branches_stay_in_the_last_column() {
        let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
        let mut all: Vec<(&str, &str)> = vec![("s0", "")];
        for pair in names.windows(2) {
            all.push((&pair[1], &pair[0]));
        }
        let twins: Vec<String> = (0..29).map(|number| format!("t{number}")).collect();
        for (twin, parent) in twins.iter().zip(&names) {
            all.push((twin, parent));
        }
        let tree = tree(&all, "t0");

        assert!(lay_out(&tree).iter().all(|line| line.rail.column() <= MOST_COLUMNS));
        assert_eq!(lay_out(&tree).len(), 60);
    }
}
