//! What must hold for root too; everything else is proven for an ordinary user, once.

use crate::{
    access::{a_healthy_device_reaches_apps_by_name, a_healthy_device_reaches_subnets_over_both_families},
    clients::ssh_works,
    cut::a_posture_edit_cuts_and_a_repair_lets_in_again,
    rights::the_gateway_has_the_rights_it_is_meant_to_have,
};

tests::tests![
    the_gateway_has_the_rights_it_is_meant_to_have,
    a_healthy_device_reaches_apps_by_name,
    a_healthy_device_reaches_subnets_over_both_families,
    a_posture_edit_cuts_and_a_repair_lets_in_again,
    ssh_works,
];
