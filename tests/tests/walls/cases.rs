//! Attacks and mistakes seen in products of this class, and the test of ours that plays each.
//! D is the data path, H the HTTP path, C control and connectors. A case counts as covered when its
//! test would fail without the defence. What is not listed waits for the part of the product it needs.

use crate::sources::sources;

/// Case, the folder of its test, the test.
const CASES: &[(&str, &str, &str)] = &[
    // One peer sends with another's tunnel address (gotatun, boringtun's device layer).
    ("D1", "tests", "another_source_address_gets_nowhere"),
    ("D1", "tunnel", "another_devices_source_is_dropped_and_counted"),
    // Arbitrary inner source addresses are accepted (Nebula 1.9.4).
    ("D2", "tests", "another_source_address_gets_nowhere"),
    ("D2", "tests", "packets_no_honest_device_sends_are_dropped_by_reason"),
    ("D2", "tunnel", "every_unit_of_inner_holds"),
    // Mapped addresses reach loopback and link-local of the connector (Tailscale, 2026-08).
    ("D3", "tests", "a_connector_dials_nothing_special_whatever_the_gateway_asks"),
    ("D3", "tests", "a_name_is_dialled_by_the_address_that_was_judged"),
    ("D3", "protocol", "special_addresses_need_their_exact_name_in_every_spelling"),
    // A policy change leaves live connections up (tailscale#859, pomerium#1279).
    ("D4", "tests", "a_posture_edit_cuts_and_a_repair_lets_in_again"),
    ("D4", "tests", "removing_the_user_cuts"),
    ("D4", "tests", "disabling_the_user_cuts"),
    ("D4", "tests", "removing_the_group_cuts"),
    ("D4", "tests", "removing_the_device_cuts"),
    ("D4", "tests", "a_policy_edit_cuts"),
    ("D4", "tests", "a_posture_edit_cuts_datagrams"),
    ("D4", "tests", "a_policy_edit_cuts_datagrams"),
    ("D4", "tests", "removing_the_user_cuts_datagrams"),
    ("D4", "tests", "signing_out_cuts_and_the_next_page_leads_to_sign_in"),
    ("D4", "tests", "the_end_of_a_session_cuts_and_asks_again"),
    ("D4", "tunnel", "removing_a_device_cuts_its_datagrams"),
    ("D4", "tunnel", "a_removed_device_is_reset_and_then_forgotten"),
    ("D4", "tunnel", "every_unit_of_tun_holds"),
    // A gateway keeps expired grants after it has lost its control channel (firezone#9892).
    ("D5", "tests", "a_gateway_without_its_store_grants_nothing_beyond_its_lease"),
    ("D5", "tests", "a_gateway_without_its_store_puts_out_at_once_and_tells_the_others_later"),
    // A time window is checked only at connect (firezone#5642).
    ("D6", "tests", "the_end_of_a_time_window_cuts"),
    ("D6", "tests", "a_window_ends_by_local_time_when_the_clocks_go_forward"),
    ("D6", "tests", "a_window_ends_by_local_time_when_the_clocks_go_back"),
    ("D6", "tests", "a_window_in_the_hour_that_comes_twice_ends_twice"),
    ("D6", "gateway", "a_wall_clock_stepped_back_extends_no_grant"),
    // Two names on one address: the sibling opens too (tailscale#10837).
    ("D7", "tests", "a_sibling_on_the_same_address_stays_shut"),
    ("D7", "gateway", "a_subnet_never_bypasses_an_app"),
    ("D7", "gateway", "other_names_are_not_recognised_and_see_no_certificate"),
    ("D7", "gateway", "only_the_apps_names_are_served_on_its_connection"),
    // Cookies break under load and lock everybody out (firezone#9643).
    ("D8", "tunnel", "a_flood_of_forged_handshakes_keeps_nobody_out"),
    ("D8", "tunnel", "cookies_are_asked_for_under_load_and_within_their_budget"),
    ("D8", "tunnel", "a_cookie_is_good_only_where_it_was_sent"),
    ("D8", "tunnel", "a_cookie_is_of_no_use_at_another_port"),
    ("D8", "tunnel", "replays_of_a_message_with_a_cookie_are_limited_by_source"),
    ("D8", "tunnel", "each_source_has_its_own_rate"),
    ("D8", "tunnel", "who_returns_a_cookie_and_who_does_not_spend_apart"),
    ("D8", "tests", "a_flood_of_handshakes_locks_nobody_out"),
    // A policy taken away and given back leaves clients black-holed (firezone#10068).
    ("D9", "tests", "a_device_restored_at_once_recovers_untouched"),
    ("D9", "tests", "out_and_in_within_a_second_leaves_nobody_behind"),
    // One table for everybody: a noisy device evicts the others (Tailscale's 512 UDP entries).
    ("D10", "tunnel", "limits_refuse_at_once"),
    ("D10", "tunnel", "devices_are_served_in_turn"),
    ("D10", "tunnel", "a_noisy_device_fills_its_own_part_only"),
    ("D10", "tunnel", "a_flood_of_datagrams_takes_nothing_from_another_device"),
    ("D10", "gateway", "a_device_fills_its_own_room_only"),
    ("D10", "tests", "a_flood_of_flows_leaves_another_device_alone"),
    ("D10", "tests", "a_device_that_floods_hurts_no_other"),
    // A cut download looks complete: queued data and a clean end (measured).
    ("D12", "tests", "nothing_queued_arrives_after_a_cut"),
    ("D12", "gateway", "a_cut_resets_an_answer_under_way_on_both_sides"),
    ("D12", "gateway", "a_cut_resets_both_sides"),
    ("D12", "gateway", "a_changed_fact_resets_a_connection_with_all_its_streams"),
    ("D12", "gateway", "an_answer_that_breaks_off_resets_its_stream_only"),
    ("D12", "tunnel", "a_flow_from_syn_to_cut_over_boringtun"),
    // Two sockets with one 4-tuple wait to be accepted: the permit of one is used for the other (measured).
    ("D13", "tests", "one_port_used_again_and_again_gets_its_own_decision"),
    ("D13", "tunnel", "reconnecting_from_one_port_pairs_by_sequence_number"),
    ("D13", "gateway", "two_flows_from_one_port_get_each_its_own_socket"),
    // An old handshake initiation, replayed after a restart, moves the victim's endpoint.
    ("D14", "tunnel", "an_old_initiation_is_refused_and_the_endpoint_stays"),
    ("D14", "tunnel", "only_data_moves_the_endpoint"),
    ("D14", "tests", "an_old_initiation_gets_nowhere_after_a_restart"),
    // The forced handshake as an amplifier.
    ("D15", "tunnel", "forced_handshakes_are_rare"),
    ("D15", "tests", "forged_data_makes_no_amplifier"),
    // Client-sent identity headers reach the app (oauth2-proxy CVE-2025-64484).
    ("H1", "tests", "forged_identity_headers_never_arrive"),
    // The path that was decided is not the path that is forwarded (Oathkeeper, Envoy, heimdall).
    ("H2", "tests", "an_ambiguous_path_is_refused"),
    ("H2", "tests", "an_ordinary_path_arrives_as_it_was"),
    ("H2", "tests", "the_path_that_was_judged_is_the_path_that_arrives"),
    ("H2", "gateway", "h2_every_reading_is_asked_about"),
    // X-Forwarded-* and kin are trusted from clients (oauth2-proxy CVE-2026-40575).
    ("H3", "tests", "forged_identity_headers_never_arrive"),
    // An attribute the client chooses makes a route public (oauth2-proxy GHSA-5hvv-m4w4-gf6v).
    ("H4", "tests", "nothing_a_client_says_makes_an_app_public"),
    // Open redirects in the way back from signing in (oauth2-proxy, four times).
    ("H6", "gateway", "nobody_is_sent_anywhere_else"),
    ("H6", "tests", "a_sign_in_leads_back_to_our_own_pages_only"),
    // A sign-in begun by an attacker is finished by somebody else (oauth2-proxy GHSA-f24x-5g9q-753f).
    ("H7", "gateway", "what_was_planted_or_changed_reads_as_nothing"),
    ("H7", "tests", "a_sign_in_is_finished_where_it_was_begun"),
    ("H7", "tests", "a_planted_sign_in_is_dropped"),
    ("H7", "tests", "a_sign_in_is_finished_once"),
    ("H7", "tests", "somebody_else_than_the_owner_is_refused_and_nobody_is_signed_in"),
    // What cannot be looked up lets in as nobody (authentik CVE-2026-25748).
    ("H8", "gateway", "a_lookup_that_finds_nothing_denies"),
    ("H8", "gateway", "an_evaluation_that_errs_denies"),
    ("H8", "gateway", "a_call_to_the_store_that_fails_lets_nobody_in"),
    // A remembered answer is given to another question (Oathkeeper).
    ("H9", "gateway", "what_is_remembered_answers_like_what_is_asked_anew"),
    // What the provider says of a person is looked at only when they sign in (Pomerium CVE-2021-41230).
    ("H10", "tests", "a_group_that_goes_at_the_provider_is_gone_within_one_interval"),
    ("H10", "tests", "who_is_shut_out_at_the_provider_is_out_within_one_interval"),
    // A token of one kind is taken for another (Pomerium CVE-2024-47616).
    ("H11", "control", "neither_token_passes_for_the_other"),
    ("H11", "control", "a_token_of_another_kind_is_refused"),
    ("H11", "tests", "a_token_is_good_for_nothing_but_what_it_is"),
    ("H11", "gateway", "what_is_not_the_providers_word_changes_nothing"),
    // Tokens and keys are served or logged (Pomerium CVE-2024-39315).
    ("H12", "tests", "no_secret_is_ever_said"),
    ("H12", "tests", "no_token_of_the_provider_is_ever_served"),
    ("H12", "tests", "no_secret_of_a_sign_in_leaves_a_gateway"),
    ("H12", "control", "nothing_that_is_kept_shows_a_secret"),
    ("H12", "control", "no_error_shows_a_secret_even_if_the_provider_repeats_it"),
    // Metrics and debug pages answer on the public port.
    ("H13", "tests", "metrics_and_probes_answer_on_the_private_listener_only"),
    ("H13", "gateway", "only_three_paths_answer_and_only_to_who_reads"),
    ("H13", "gateway", "no_listener_answers_what_is_anothers"),
    // Request smuggling.
    ("H14", "tests", "a_request_hidden_in_another_never_arrives"),
    ("H14", "gateway", "h14_nothing_is_smuggled_past_a_length"),
    // ID tokens that are forged, unsigned, expired, or made for another (Zscaler CVE-2025-54982).
    ("H15", "control", "claims_that_do_not_fit_are_refused"),
    ("H15", "control", "what_is_signed_by_others_is_refused"),
    ("H15", "control", "a_signature_covers_every_part"),
    ("H15", "control", "the_token_of_another_sign_in_is_refused"),
    ("H15", "control", "a_redirect_is_not_followed"),
    ("H15", "control", "an_answer_has_a_bound"),
    ("H15", "control", "what_is_no_https_issuer_is_no_provider"),
    // Any page in the browser acts with the tunnel's identity.
    ("H16", "tests", "a_foreign_page_cannot_act"),
    ("H16", "tests", "a_strangers_page_changes_nothing_and_reads_nothing"),
    ("H16", "tests", "programs_that_are_no_browsers_still_write"),
    ("H16", "gateway", "a_form_of_an_own_page_without_referrer_passes"),
    // DNS rebinding and unknown hosts (CVE-2022-41924).
    ("H17", "tests", "an_unknown_host_is_misdirected"),
    ("H17", "tests", "the_door_answers_to_its_own_name_only"),
    ("H17", "tests", "an_app_plants_no_cookie_that_the_door_or_a_sibling_reads"),
    ("H17", "gateway", "takes_out_every_form_of_our_addresses"),
    ("H17", "gateway", "an_answer_into_our_networks_becomes_no_data"),
    // A GET that writes: upgrades and method overrides.
    ("H18", "tests", "a_write_in_disguise_is_a_write"),
    // A connector is used to roam its network (Teleport).
    ("C1", "tests", "a_connector_dials_nothing_its_own_list_lacks"),
    // Secrets leak into logs (headscale GHSA-wp76-cf2j-rqq7).
    ("C2", "tests", "no_secret_is_ever_said"),
    ("C2", "gateway", "no_token_is_logged_on_either_side"),
    ("C2", "connector", "a_token_is_said_nowhere"),
    // A one-time credential that leaks, or is guessed, raced for, or shown at the wrong door.
    ("C2", "gateway", "of_a_hundred_keys_one_joins"),
    ("C2", "gateway", "of_a_hundred_keys_at_two_gateways_one_joins"),
    ("C2", "gateway", "an_outsider_is_told_one_thing"),
    ("C2", "gateway", "who_guesses_is_answered_nothing_more"),
    ("C2", "gateway", "a_token_is_no_greeting_of_a_link"),
    ("C2", "gateway", "a_key_that_may_link_does_not_by_joining"),
    ("C2", "gateway", "a_gateway_with_another_key_is_shown_no_token"),
    ("C2", "tests", "no_secret_leaves_a_gateway"),
    ("C2", "tests", "no_secret_leaves_gateways_that_share_a_store"),
    // The certificate of a session is swapped (Boundary CVE-2024-1052).
    ("C3", "tests", "a_connector_with_another_key_gets_nowhere_and_is_named"),
    ("C3", "tests", "a_connector_trusts_no_gateway_with_another_key"),
    ("C3", "gateway", "a_stolen_certificate_opens_no_link"),
    ("C3", "gateway", "a_stolen_certificate_makes_no_gateway"),
    // An administrator reaches what is another's, or writes over another's change (NetBird GO-2026-5646).
    ("C4", "gateway", "an_operator_touches_nothing_out_of_scope_and_is_not_told_whether_it_exists"),
    ("C4", "gateway", "what_concerns_everybody_is_not_for_who_may_administer_one"),
    ("C4", "control", "what_one_may_not_see_is_not_listed_shown_or_ended"),
    ("C4", "gateway", "a_person_joins_a_group_only_by_who_may_put_them_in"),
    ("C4", "tests", "parallel_commands_lose_nothing"),
    // A fresh install has a credential that everybody knows (NetBird CVE-2025-10678).
    ("C5", "tests", "a_fresh_gateway_has_nobody"),
    // What a header says of the sender's address is believed (headscale#3268).
    ("C6", "gateway", "what_a_header_says_of_the_sender_counts_for_nothing"),
    // Removing one person takes everybody's keys (headscale#3155).
    ("C7", "tests", "removing_a_user_takes_nothing_from_another"),
    // A revoked key is used again (nebula-mesh CVE-2026-61699).
    ("C8", "tests", "a_removed_device_stays_out_whatever_it_kept"),
    ("C8", "tests", "what_one_gateway_takes_away_is_gone_at_the_other"),
    ("C8", "tests", "a_removed_device_gets_no_new_handshake"),
    // Two permits, one without posture: the weaker wins unnoticed (OpenZiti).
    ("C10", "policy", "a_permit_that_makes_another_moot"),
    // A forbid that errs is skipped by Cedar itself.
    ("C11", "tests", "a_policy_that_cannot_be_evaluated_denies"),
    ("C11", "policy", "an_erroring_forbid_denies_and_is_named"),
    // One provider's guest claims another's e-mail or group.
    ("C12", "control", "a_foreign_or_unverified_address_is_never_taken"),
    ("C12", "control", "groups_are_named_after_their_provider_unless_mapped"),
    ("C12", "control", "a_list_that_is_not_whole_refuses_the_sign_in"),
    ("C12", "tests", "an_address_that_is_not_verified_or_of_another_company_is_told_to_nobody"),
    ("C12", "tests", "a_list_of_groups_that_is_not_whole_signs_nobody_in"),
    ("C12", "tests", "groups_are_the_providers_own_whatever_they_are_called"),
    // A backup brings back what was revoked since.
    ("C13", "tests", "what_has_ended_since_a_backup_stays_ended"),
    ("C13", "tests", "after_a_disaster_everything_is_denied_until_a_person_has_looked"),
    ("C13", "control", "keys_groups_owners_and_pins_that_went_stay_away"),
    ("C13", "gateway", "what_only_the_audit_log_knows_is_revoked_again"),
    // A configuration file is copied and used on two machines.
    ("C14", "tests", "a_copied_configuration_suspends_until_its_person_signs_in"),
    ("C14", "tests", "a_phone_between_two_networks_is_left_alone"),
    ("C14", "gateway", "two_places_that_take_turns_are_noticed"),
];

#[test]
fn every_case_has_its_test() {
    let sources = sources();
    for (case, folder, test) in CASES {
        let definition = format!("fn {test}(");
        let found = sources.iter().any(|(name, text)| name.starts_with(folder) && text.contains(&definition));
        assert!(found, "{case}: there is no test {test} in {folder}/");
    }
}
