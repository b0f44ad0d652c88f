# What the boot tests share: a guest at the end of an expect spawn, and commands in it. Sourced.
# Each wait has a bound that a slow, loaded machine under TCG does not reach; none is an expectation of speed.

set timeout 600

proc fail {message} {
  puts "\nFAILED: $message"
  exit 1
}

proc wait_for {pattern what} {
  global expect_out spawn_id
  expect {
    -re $pattern {}
    timeout { fail "$what did not appear" }
    eof { fail "the end came while waiting for $what" }
  }
}

# Runs one command in the guest and gives what it printed. The marks keep the echo of the command apart from its output.
proc guest {command} {
  global expect_out spawn_id
  send -- "echo BEG''IN; $command; echo E''ND\r"
  wait_for {BEGIN[\r\n]+(.*)END[\r\n]+} "the end of '$command'"
  return [string map {"\r" ""} $expect_out(1,string)]
}

proc log_in {} {
  global spawn_id
  wait_for {login: $} "the login prompt"
  log_in_at_prompt
}

proc log_in_at_prompt {} {
  global spawn_id
  send "root\r"
  wait_for {# $} "the root prompt (an empty password is enough on this image)"
  send "PS1=; stty -echo; bind 'set enable-bracketed-paste off'\r"
  guest "true"
}

# The program at the end of the spawn ends. Gives its exit status.
proc wait_for_end {what} {
  global expect_out spawn_id
  expect {
    timeout { fail "$what did not end" }
    eof {}
  }
  lassign [wait] pid id os_error status
  if {$os_error != 0} { fail "$what: wait failed with $status" }
  return $status
}

proc expect_end {what wanted} {
  set status [wait_for_end $what]
  if {$status != $wanted} { fail "$what ended with $status, not $wanted" }
}

# The program at the end of the spawn ends well when the guest powers off. Gives the last of what it said.
proc power_off {} {
  global expect_out spawn_id
  send "poweroff\r"
  expect_end "the VM, after poweroff," 0
  return [string map {"\r" ""} $expect_out(buffer)]
}

# State of its own for every program that is started from here.
proc use_state_dir {} {
  foreach variable {DATA CACHE RUNTIME} {
    if {$variable eq "RUNTIME"} { set name XDG_RUNTIME_DIR } else { set name XDG_${variable}_HOME }
    set ::env($name) $::env(STATE_DIR)/[string tolower $variable]
    file mkdir $::env($name)
  }
}

# Runs a program of ours to its end: its exit code, standard output and standard error.
proc result {input arguments} {
  set code 0
  set errors [file join $::env(STATE_DIR) stderr]
  if {[catch {exec -ignorestderr -keepnewline {*}$arguments << $input 2> $errors} output options]} {
    set details [dict get $options -errorcode]
    if {[lindex $details 0] ne "CHILDSTATUS"} { fail "$arguments: $output" }
    set code [lindex $details 2]
    # Tcl adds its own line to what the program said.
    regsub {\n?child process exited abnormally$} $output {} output
  }
  set file [open $errors]
  set said [read $file]
  close $file
  return [list $code $output $said]
}

proc expect_result {what input arguments code output {error {}}} {
  lassign [result $input $arguments] got_code got_output got_error
  if {$got_code != $code || [string trimright $got_output] ne $output} {
    fail "$what: exit code $got_code and '$got_output' ($got_error), not $code and '$output'"
  }
  if {$error ne {} && ![string match $error $got_error]} { fail "$what: standard error is '$got_error'" }
}

# No process and no socket of this test is left.
proc expect_nothing_left {} {
  if {![catch {exec pgrep -f "$::env(STATE_DIR)"} left]} { fail "processes are left: $left" }
  set sockets [string trim [exec find $::env(STATE_DIR) -type s]]
  if {$sockets ne ""} { fail "sockets are left: $sockets" }
}
