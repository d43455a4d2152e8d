//! Who gets how many connections: the rule of the budget, as a pure function.
//!
//! Each is due a fair share: as many as all others, but no more than it wants, the rest going to those
//! who want more (max-min fairness), and what does not divide to the oldest. Nobody takes what
//! another still holds: a share grows only out of what is free, and what is held counts until it has
//! been given back. So the sum never passes the total, whatever the order of things.

/// What a process holds and wants, as its lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The most that it could use.
    pub(crate) wanted: u32,
    /// What counts as taken by it.
    pub(crate) share: u32,
}

/// What a process may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What is to be written into its lease: taken, as far as others are concerned.
    pub(crate) share: u32,
    /// What it may use from now on; at most `share`. If it is less, the difference is to be given
    /// back as soon as it is no longer in use.
    pub(crate) usable: u32,
    /// What it is due once everybody has adjusted.
    pub(crate) fair: u32,
}

/// The fair share of each, in the order of `wanted`.
pub(crate) fn fair(total: u32, wanted: &[u32]) -> Vec<u32> {
    let mut shares = vec![0; wanted.len()];
    let mut left = total;
    let mut hungry: Vec<usize> = (0..wanted.len()).filter(|i| wanted[*i] > 0).collect();
    while left > 0 && !hungry.is_empty() {
        let each = left / u32::try_from(hungry.len()).unwrap_or(u32::MAX);
        for index in &hungry {
            // When less is left than there are hungry ones, the oldest get one more each.
            let give = each.max(1).min(wanted[*index] - shares[*index]).min(left);
            shares[*index] += give;
            left -= give;
        }
        hungry.retain(|index| shares[*index] < wanted[*index]);
    }
    shares
}

/// What the process at `me` may do, where every `share` is what its process really holds.
pub(crate) fn grant(total: u32, leases: &[Lease], me: usize) -> Grant {
    let wanted: Vec<u32> = leases.iter().map(|lease| lease.wanted).collect();
    let fair = fair(total, &wanted)[me];
    let others: u32 = leases
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != me)
        .fold(0, |sum, (_, lease)| sum.saturating_add(lease.share));
    let free = total.saturating_sub(others);
    let usable = fair.min(free);
    Grant { share: usable.max(leases[me].share), usable, fair }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_fair() {
        assert_eq!(fair(10, &[9, 9, 9]), [4, 3, 3]);
        assert_eq!(fair(10, &[1, 9, 9]), [1, 5, 4]);
        assert_eq!(fair(2, &[9, 9, 9]), [1, 1, 0]);
        assert_eq!(fair(10, &[2, 3]), [2, 3]);
        assert_eq!(fair(0, &[2, 3]), [0, 0]);
        assert_eq!(fair(10, &[0, 3]), [0, 3]);
        assert_eq!(fair(10, &[]), [0; 0]);
    }

    #[test]
    fn a_newcomer_waits_until_somebody_has_given_back() {
        let all = Lease { wanted: 10, share: 10 };
        let none = Lease { wanted: 10, share: 0 };
        assert_eq!(grant(10, &[all, none], 1), Grant { share: 0, usable: 0, fair: 5 });
        // The old one may use five from now on; ten count until it has closed the others.
        assert_eq!(grant(10, &[all, none], 0), Grant { share: 10, usable: 5, fair: 5 });
        let half = Lease { wanted: 10, share: 5 };
        assert_eq!(grant(10, &[half, none], 1), Grant { share: 5, usable: 5, fair: 5 });
    }

    proptest! {
        #[test]
        fn fair_shares_fit_and_nobody_envies(
            total in 0_u32..200,
            wanted in proptest::collection::vec(0_u32..60, 0..12),
        ) {
            let shares = fair(total, &wanted);
            let sum: u32 = shares.iter().sum();
            prop_assert_eq!(sum, total.min(wanted.iter().sum()), "nothing is left lying");
            for (share, want) in shares.iter().zip(&wanted) {
                prop_assert!(share <= want);
            }
            for (share, want) in shares.iter().zip(&wanted) {
                if share < want {
                    let most = shares.iter().max().unwrap();
                    prop_assert!(most - share <= 1, "{:?} of {:?}", shares, wanted);
                }
            }
        }

        /// Processes come, go, die and tick in any order: the sum of what they hold fits, always; and
        /// once nobody comes or goes, all reach their fair shares.
        #[test]
        fn the_sum_never_passes_the_total(
            total in 0_u32..40,
            steps in proptest::collection::vec((0_u8..10, 0_usize..8, 1_u32..20, 0_u32..20), 0..200),
        ) {
            // What each process's lease says, and what it may use by its own account.
            let mut fleet: Vec<(Lease, u32)> = Vec::new();
            let tick = |fleet: &mut Vec<(Lease, u32)>, me: usize, in_use: u32| {
                // It holds what it may use, or more for as long as that is in use.
                let held = fleet[me].1.max(in_use.min(fleet[me].0.share));
                fleet[me].0.share = held;
                let leases: Vec<Lease> = fleet.iter().map(|(lease, _)| *lease).collect();
                let grant = grant(total, &leases, me);
                assert!(grant.usable <= grant.share && grant.share >= held);
                fleet[me] = (Lease { share: grant.share, ..fleet[me].0 }, grant.usable);
            };
            for (what, who, wanted, in_use) in steps {
                match what {
                    0 | 1 if fleet.len() < 8 => fleet.push((Lease { wanted, share: 0 }, 0)),
                    2 if !fleet.is_empty() => drop(fleet.remove(who % fleet.len())),
                    _ if !fleet.is_empty() => {
                        let me = who % fleet.len();
                        tick(&mut fleet, me, in_use);
                    }
                    _ => {}
                }
                let sum: u32 = fleet.iter().map(|(lease, _)| lease.share).sum();
                prop_assert!(sum <= total, "{} of {}", sum, total);
            }
            for me in (0..fleet.len()).chain(0..fleet.len()).chain(0..fleet.len()) {
                tick(&mut fleet, me, 0);
            }
            let wanted: Vec<u32> = fleet.iter().map(|(lease, _)| lease.wanted).collect();
            let usable: Vec<u32> = fleet.iter().map(|(_, usable)| *usable).collect();
            prop_assert_eq!(usable, fair(total, &wanted));
        }
    }
}
