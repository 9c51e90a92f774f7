// Package nginxgen keeps nginx include files, full of upstream blocks, true to a wanted Model: it renders the files, proves
// them, swaps them in, reloads nginx, verifies the reload, and goes back to the last good files otherwise.
//
// The idea: the include files are the only files this package writes. The user's own files are read and never rewritten.
// nginx itself is the judge: nothing replaces a live file before `nginx -t` has passed with it in place.
//
// There is one file for all http upstreams, or one for each in a folder, and one for all stream upstreams. All files of one
// change are proven together, loaded by one reload, and rolled back together. What one call of Manager.Apply does with a
// wanted Model:
//
//	        not a valid model, or a live file is a stranger's
//	want ──────────────────────────────────────────────────────────► Refused     nothing changed
//	  │     live files = wanted = last verified files
//	  ├────────────────────────────────────────────────────────────► Unchanged   no write, no reload
//	  │     held: too soon, too many, not worth it (Budget), or drift that is left
//	  ├────────────────────────────────────────────────────────────► Deferred    the next tick asks again
//	  │     no nginx, no living master, no right to signal it, full disk, read-only folder
//	  ├────────────────────────────────────────────────────────────► Failed      nothing changed
//	  ▼
//	stage ─► `nginx -t` alone ─► `nginx -t` in context ── fails ───► Refused     nothing changed
//	  │                                    └─ and fails without it ► Failed      "nginx's own configuration is broken"
//	  ▼ passes
//	note ─► swap ─► SIGHUP ─► every worker not leaving is new ─────► Applied     .NAME.good = the live file, no note
//	                   │
//	                   │ [emerg] by the master, or VerifyTimeout
//	                   ▼
//	        .NAME.good over the live files, SIGHUP unless the old workers are untouched ─► RolledBack
//
// "In context" means the user's whole configuration. With CAP_SYS_ADMIN it runs in a private mount namespace, where the
// staged files lie over the live ones and nobody else sees them. Without, the files are swapped in, tested and swapped out
// again on failure; only in that mode can a live file be a refused one, for the length of one `nginx -t`. There the test and
// the reload may be configured commands (sudo).
//
// Files beside NAME, all hidden, so that neither `include *.conf` nor `include *` matches them:
//
//	.NAME.stage    the next file while it is proven
//	.NAME.good     a copy of the last file whose reload was verified. NAME = .NAME.good says "loaded" after a restart
//	.NAME.edited   what somebody wrote into NAME by hand, kept when it is overwritten
//	.NAME.lock     held (flock) while a process works on NAME; .tidegate.lock for a folder
//	.NAME.loading  the note (journal) of a change that is under way; while it is there nobody knows what nginx runs with
//
// Invariants:
//   - Equal models give equal bytes; equal bytes give no write and no reload.
//   - No name, address or comment can become another directive; an upstream is never empty.
//   - A live file is replaced whole, by rename, after its bytes are on disk.
//   - .NAME.good never shares an inode with an editable NAME for longer than a roll back takes.
//   - A process that is killed anywhere leaves files that nginx accepts (see the mode without CAP_SYS_ADMIN above), and the
//     next start finds out whether they were loaded.
//   - No edit, no tool and no rate of changes makes nginx reload more often than the Budget allows, a roll back apart.
//
// Units: weights are small integers (nginx's own), durations are time.Duration, sizes are in nginx's notation ("64k").
package nginxgen
