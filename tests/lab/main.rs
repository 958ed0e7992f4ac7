//! The lab tests: the program under test on private hosts with a real libvirt.
//!
//! Root runs the same as an ordinary user by `cargo test --test lab -- --lab-as-ordinary-user [FILTER]`.
//!
//! Every test function is listed here. One that is not listed is dead code, which the build reports.

#[path = "../demo/mod.rs"]
mod demo_program;
#[path = "../support/mod.rs"]
mod support;

mod book;
mod boot;
mod carried;
mod checkpoints;
mod clients;
mod demo;
mod dhcp;
mod diff;
mod dns;
mod doctor;
mod dropins;
mod guest_kills;
mod guests;
mod harness;
mod import;
mod install;
mod instances;
mod kills;
mod lifecycle;
mod live;
mod luggage;
mod machine;
mod matrix;
mod modes;
mod netboot;
mod networks;
mod newcomer;
mod pending;
mod preflight;
mod reference;
mod refusals;
mod travel;
mod updates;

use signal_hook::consts::SIGINT;
use std::process::ExitCode;
use std::time::Duration;

use support::Footprint;

use libtest_mimic::{Arguments, Trial};

#[expect(clippy::too_many_lines, reason = "a list of all tests")]
fn tests() -> Vec<Trial> {
    support::tests! {
        harness {
            host_runs_commands_with_its_own_name_and_environment,
            command_that_hangs_is_killed,
            running_program_gives_lines_and_takes_signals,
            files_move_between_hosts_that_share_nothing,
            message_bus_obeys_its_policy,
            libvirtd_answers_stops_and_starts_again,
            guest_boots_gets_a_lease_keeps_a_marker_and_shuts_down,
            packages_install_in_a_host_and_nowhere_else,
            inner_arguments_do_nothing_to_the_machine,
            host_dies_with_the_process_that_started_it,
            ordinary_user_has_the_same_lab,
            footprint_shows_what_is_left_behind,
            tests_of_networks_and_guests_leave_nothing_behind,
            nothing_is_left_behind_whenever_the_lab_is_killed,
        }
        travel {
            a_guest_starts_only_on_the_images_it_was_made_from,
            what_could_not_be_finished_is_finished_by_a_later_run,
        }
        instances {
            instances_live_side_by_side_through_everything,
        }
        matrix {
            debs_take_every_step_and_no_guest_loses_a_byte,
            rpms_take_every_step_and_no_guest_loses_a_byte,
            dpkg_alone_takes_every_step,
            apt_alone_takes_every_step,
            rpm_alone_takes_every_step,
            dnf_alone_takes_every_step,
        }
        carried {
            disks_of_every_place_and_depth,
            firmware_variables_and_tpm_state,
            a_sealed_guest_leaves_its_identity_behind,
        }
        live {
            a_running_guest_is_packed_as_it_was_at_one_moment,
            whatever_ends_a_live_pack_the_guest_goes_on,
            a_live_pack_killed_at_any_point_is_undone_and_the_guest_goes_on,
            guests_of_every_kind_are_packed_while_they_run,
        }
        install {
            debian_packages_and_tar_files_come_and_go,
            killed_runs_are_made_up_for,
            rpm_packages_come_and_go,
        }
        checkpoints {
            what_was_written_since_a_checkpoint_is_all_that_is_read,
        }
        preflight {
            what_stands_in_the_way_is_named_and_nothing_is_changed,
        }
        import {
            a_network_with_a_running_guest_is_adopted,
        }
        luggage {
            a_packaged_guests_entry_comes_and_goes_with_its_package,
            guests_of_one_base_arrive_with_their_network,
        }
        guests {
            shutdown_is_graceful_and_hard_only_on_demand,
            a_renewed_lease_without_end_is_noticed,
            leases_are_listed_and_watched_by_signals_only,
        }
        dropins {
            a_created_guest_has_its_address_and_name_from_the_first_boot,
            reservations_wait_for_their_network_and_go_with_the_guest,
            clashes_with_the_host_are_refused_and_nothing_is_changed,
            a_chosen_subnet_avoids_all_that_is_taken,
        }
        updates {
            two_hundred_changes_reach_dnsmasq_and_no_ping_is_lost,
            hosts_that_come_are_taken_in_and_leave_no_trace_when_they_go,
            other_records_restart_dnsmasq_once_and_every_renewal_is_answered,
            another_subnet_and_another_bridge_replug_running_guests,
            an_update_that_fails_is_taken_back,
            an_update_without_a_daemon_changes_nothing,
        }
        diff {
            changes_are_told_as_an_update_makes_them,
            no_mode_drifts_by_itself,
            what_others_change_is_named_and_put_right,
        }
        demo {
            the_whole_demo_works_and_leaves_nothing_behind,
            an_ordinary_user_sees_the_same_demo,
            nothing_is_left_behind_whenever_the_demo_is_killed,
        }
        machine {
            a_command_runs_where_namespaces_are_refused,
        }
        modes {
            a_guest_reaches_in_every_mode_what_it_should,
            a_bridge_of_the_hosts_own_is_looked_at_and_never_touched,
            a_guest_gets_its_ipv6_addresses_and_names,
        }
        networks {
            net_1_is_registered_once_and_unregistered_once,
            names_of_the_network_are_answered,
            net_1_and_net_10_do_not_touch_each_other,
            a_network_of_someone_else_is_left_alone,
            a_taken_bridge_is_refused,
            without_a_daemon_nothing_is_changed,
            dnsmasq_comes_back_after_a_kill_and_after_a_killed_daemon,
            a_network_written_into_a_root_is_registered_at_its_first_run,
            a_damaged_record_is_named_and_written_anew,
            a_dnsmasq_that_cannot_start_undoes_the_registration,
        }
        lifecycle {
            a_state_directory_holds_everything_and_its_daemon_comes_and_goes,
            killed_registrations_are_made_up_for_by_the_next_run,
            work_left_for_a_root_is_done_by_its_first_changing_run,
        }
        boot {
            everything_comes_up_in_order_and_leases_are_kept,
            what_is_pending_is_done_at_boot,
        }
        dns {
            every_kind_of_record_is_answered,
            what_is_the_networks_own_is_never_asked_outside,
            questions_go_round_in_no_circle,
        }
        dhcp {
            every_machine_gets_what_is_meant_for_it,
        }
        netboot {
            each_firmware_gets_its_file_through_a_firewall_that_is_closed_again,
            the_opening_is_there_again_after_a_power_cut_and_a_killed_run,
            real_firmware_loads_and_runs_what_it_is_told,
        }
        doctor {
            every_fault_is_found_and_its_command_cures_it,
        }
        newcomer {
            init_sets_a_host_up_and_its_user_needs_no_sudo_for_guests,
        }
        kills {
            a_register_killed_at_every_point_is_made_up_for,
            an_unregister_killed_at_any_point_is_made_up_for,
            an_update_of_hosts_killed_at_any_point_is_made_up_for,
            an_update_of_the_domain_killed_at_any_point_is_made_up_for,
            an_update_of_the_subnet_killed_at_any_point_is_made_up_for,
            an_update_under_a_guest_killed_at_any_point_is_made_up_for,
            an_adoption_killed_at_any_point_is_made_up_for,
            an_adoption_of_reservations_killed_at_any_point_is_made_up_for,
            putting_on_record_killed_at_every_point_is_made_up_for,
            finishing_what_is_pending_killed_at_any_point_is_made_up_for,
        }
        guest_kills {
            a_reset_killed_at_any_point_is_made_up_for,
            a_reset_that_keeps_the_old_disk_killed_at_any_point_never_loses_it,
            a_second_instance_killed_at_any_point_is_made_up_for,
            an_unregistration_with_snapshot_and_saved_memory_killed_at_any_point_is_made_up_for,
            a_taken_name_is_told_with_the_command_that_goes_on,
        }
        pending {
            what_libvirt_did_not_hear_is_done_by_the_next_run,
            the_daemon_does_what_is_pending_when_libvirt_comes_up,
            a_piece_that_fails_stays_pending_and_holds_up_no_other,
            a_lost_libvirt_leaves_the_rest_pending,
            runs_of_one_network_wait_for_each_other,
        }
        reference {
            the_reference_networks_live_side_by_side,
            a_definition_of_the_first_releases_is_served_and_rewritten,
        }
        book {
            readme,
            first_hour,
            networks,
            leases,
            guests,
            packing,
            installing,
            images,
            security,
            migration,
            troubleshooting,
            faq,
        }
        refusals {
            every_refusal_says_what_to_do_and_changes_nothing,
        }
    }
}

/// Minutes each: without MINIASCAPE_TEST_FULL they count as ignored.
const ONLY_FULL: [&str; 4] = [
    "matrix::dpkg_alone_takes_every_step",
    "matrix::apt_alone_takes_every_step",
    "matrix::rpm_alone_takes_every_step",
    "matrix::dnf_alone_takes_every_step",
];

/// Does what a test has started this executable for, if it was a test that started it.
fn inner() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let name = args.next()?;
    match args.next()?.to_str()? {
        harness::KILL_CHECK_ARGUMENT => harness::kill_check(),
        demo::DEMO_ARGUMENT => return Some(demo_program::main(std::iter::once(name).chain(args))),
        demo::CHECK_ARGUMENT => {
            let (what, deb, rpm) = (args.next()?, args.next()?, args.next()?);
            demo::check(what.to_str()?, deb.as_ref(), rpm.as_ref());
        }
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    // The demo is told which program to show.
    if let Some(code) = inner() {
        return code;
    }
    support::set_under_test(env!("CARGO_BIN_EXE_miniascape"));
    if let Some(code) = support::entry() {
        return code;
    }
    // Whoever starts the tests may ignore Ctrl-C, and what they start would inherit that; a handler is not inherited.
    let ends = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    if let Err(error) = signal_hook::flag::register_conditional_shutdown(SIGINT, 130, ends) {
        support::note(format_args!("no handler for Ctrl-C: {error}"));
    }
    let arguments = Arguments::from_args();
    if !arguments.list {
        let obstacles = support::obstacles();
        for obstacle in &obstacles {
            support::note(format_args!("the lab cannot run here: {obstacle}"));
        }
        if !obstacles.is_empty() {
            return ExitCode::FAILURE;
        }
    }
    // Where nothing else happens, whatever is new afterwards is ours.
    let before = support::is_aside().then(Footprint::take);
    let full = std::env::var_os("MINIASCAPE_TEST_FULL").is_some();
    let tests = tests().into_iter().map(|test| {
        let late = !full && ONLY_FULL.contains(&test.name());
        test.with_ignored_flag(late)
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    let left = before.map_or_else(Vec::new, |before| before.changes(Duration::from_secs(10)));
    if !left.is_empty() {
        support::note(format_args!(
            "the tests left something behind:\n{}",
            left.join("\n")
        ));
        return ExitCode::FAILURE;
    }
    let everything = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    if everything && conclusion.num_passed == 0 {
        support::note("not one test passed: that is a failure, not a success");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
