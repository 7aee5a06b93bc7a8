//! Values by ids that others choose: a list while there are few, a tree once there are many.
//!
//! A tree's node has places for eleven, and most rooms have two; a list would be slow once somebody invents thousands. Iterates by ascending id.

use std::collections::BTreeMap;

/// A list has no more.
const FEW: usize = 16;
/// Up to so many no memory is set aside for further ones.
const EXACT: usize = 4;

#[derive(Debug)]
pub(crate) enum ById<T> {
    /// Ascending.
    Few(Vec<(u64, T)>),
    /// Boxed, so that a node with places for eleven is small.
    Many(BTreeMap<u64, Box<T>>),
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<T> ById<T> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(tree) => tree.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        match self {
            Self::Few(list) => place(list, id).ok().map(|place| &list[place].1),
            Self::Many(tree) => tree.get(&id).map(|value| &**value),
        }
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        match self {
            Self::Few(list) => place(list, id).ok().map(|place| &mut list[place].1),
            Self::Many(tree) => tree.get_mut(&id).map(|value| &mut **value),
        }
    }

    /// The value of an id, made if there is none.
    pub(crate) fn get_or_insert_with(&mut self, id: u64, make: impl FnOnce() -> T) -> &mut T {
        if let Self::Few(list) = self
            && list.len() == FEW
            && place(list, id).is_err()
        {
            *self = Self::Many(list.drain(..).map(|(id, value)| (id, Box::new(value))).collect());
        }
        match self {
            Self::Few(list) => {
                let place = place(list, id).unwrap_or_else(|place| {
                    if list.len() < EXACT {
                        list.reserve_exact(1);
                    }
                    list.insert(place, (id, make()));
                    place
                });
                &mut list[place].1
            }
            Self::Many(tree) => tree.entry(id).or_insert_with(|| Box::new(make())),
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        match self {
            Self::Few(list) => place(list, id).ok().map(|place| list.remove(place).1),
            Self::Many(tree) => {
                let removed = tree.remove(&id).map(|value| *value);
                if tree.is_empty() {
                    *self = Self::default();
                }
                removed
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let (few, many) = match self {
            Self::Few(list) => (Some(list), None),
            Self::Many(tree) => (None, Some(tree)),
        };
        let few = few.into_iter().flatten().map(|(id, value)| (*id, value));
        few.chain(many.into_iter().flatten().map(|(id, value)| (*id, &**value)))
    }
}

fn place<T>(list: &[(u64, T)], id: u64) -> Result<usize, usize> {
    list.binary_search_by_key(&id, |(known, _)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_tree_however_many_come_and_go() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut found, mut model) = (ById::default(), BTreeMap::new());
            for step in 0..2_000_u32 {
                // It grows above what a list may have, and is emptied, several times.
                let (id, grows) = (rng.u64(..40), (step / 250) % 2 == 0);
                if rng.u8(..4) == 0 || !grows {
                    assert_eq!(found.remove(id), model.remove(&id), "seed {seed}, step {step}");
                } else {
                    let value = found.get_or_insert_with(id, || step);
                    assert_eq!(value, model.entry(id).or_insert(step), "seed {seed}, step {step}");
                }
                let all = model.iter().map(|(id, value)| (*id, value));
                assert!(found.iter().eq(all) && found.len() == model.len(), "seed {seed}, step {step}");
                assert_eq!(found.get(id), model.get(&id));
                assert_eq!(found.get_mut(id), model.get_mut(&id));
            }
        }
    }
}
