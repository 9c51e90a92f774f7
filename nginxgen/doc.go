// Package nginxgen keeps one nginx include file, full of upstream blocks, true to a wanted Model: it renders the file,
// proves it, swaps it in, reloads nginx, verifies the reload, and goes back to the last good file otherwise.
//
// The idea: the include file is the only file this package writes. The user's own files are read and never rewritten.
// nginx itself is the judge: nothing replaces the live file before `nginx -t` has passed with it in place.
//
// What one call of Manager.Apply does with a wanted Model:
//
//	        not a valid model, or the live file is a stranger's
//	want ──────────────────────────────────────────────────────────► Refused     nothing changed
//	  │     live file = wanted = last verified file
//	  ├────────────────────────────────────────────────────────────► Unchanged   no write, no reload
//	  │     too soon after the last try (Budget)
//	  ├────────────────────────────────────────────────────────────► Deferred    the next tick asks again
//	  │     no nginx, no living master, no right to signal it, full disk, read-only folder
//	  ├────────────────────────────────────────────────────────────► Failed      nothing changed
//	  ▼
//	stage ─► `nginx -t` alone ─► `nginx -t` in context ── fails ───► Refused     nothing changed
//	  │                                    └─ and fails without it ► Failed      "nginx's own configuration is broken"
//	  ▼ passes
//	swap ─► SIGHUP ─► every worker that is not leaving is new ─────► Applied     .NAME.good = the live file
//	           │
//	           │ [emerg] by the master, or VerifyTimeout
//	           ▼
//	        .NAME.good over the live file, SIGHUP unless the old workers are untouched ─► RolledBack
//
// "In context" means the user's whole configuration. With CAP_SYS_ADMIN it runs in a private mount namespace, where the
// staged file lies over the live one and nobody else sees it. Without, the file is swapped in, tested and swapped out
// again on failure; only in that mode can the live file be a refused one, for the length of one `nginx -t`.
//
// Files beside NAME, all hidden, so that neither `include *.conf` nor `include *` matches them:
//
//	.NAME.stage    the next file while it is proven
//	.NAME.good     a copy of the last file whose reload was verified. NAME = .NAME.good says "loaded" after a restart
//	.NAME.edited   what somebody wrote into NAME by hand, kept when it is overwritten
//	.NAME.lock     held (flock) while a process works on NAME
//
// Invariants:
//   - Equal models give equal bytes; equal bytes give no write and no reload.
//   - No name, address or comment can become another directive; an upstream is never empty.
//   - The live file is replaced whole, by rename, after its bytes are on disk.
//   - .NAME.good never shares an inode with an editable NAME for longer than a roll back takes.
//   - A process that is killed anywhere leaves a file that nginx accepts (see the mode without CAP_SYS_ADMIN above), and the
//     next start finds out whether it was loaded.
//
// Units: weights are small integers (nginx's own), durations are time.Duration, sizes are in nginx's notation ("64k").
package nginxgen
