package nginxgen

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Options say what to manage. Main and one of File, Folder and StreamFile are required; File and Folder exclude each other.
type Options struct {
	// File is the include file for all http upstreams: absolute, of letters, digits and `. _ @ + - /`. Its folder must be
	// writable and lie on a disk that survives a reboot: without the file nginx may not start.
	File string
	// Folder takes a file of its own for each http upstream, FOLDER/tidegate-NAME.conf, instead of File. Main includes
	// FOLDER/*.conf. The file of an upstream that is not wanted any more is emptied and stays, as an include line may name it.
	Folder string
	// StreamFile is the include file for all stream upstreams, "" for none.
	StreamFile string
	// Main is the absolute path of nginx's main configuration, which includes File or Folder in its http block and
	// StreamFile in its stream block.
	Main string
	// Binary is nginx's name or path, "nginx" when empty. Prefix is its -p, none when empty.
	Binary, Prefix string
	// PIDFile is the master's pid file; empty: from Main's pid directive, else as nginx was compiled.
	PIDFile string
	// TestCommand and ReloadCommand are whole command lines for a process that may not do itself what they do, such as
	// ["sudo", "-n", "/usr/sbin/nginx", "-t"]. Exit status 0 means that the configuration passes, that the reload is under
	// way. Without them `nginx -t` is run and SIGHUP is sent directly. With TestCommand no mount namespace is tried.
	TestCommand, ReloadCommand []string
	// Log gets reloads, drift and, throttled, failures; nil for none. Callers need not log an Outcome again.
	Log *slog.Logger
	// Metrics is where tidegate_nginx_* are registered; nil for a private set.
	Metrics *metrics.Set
	// MinMembership (2 s), MinWeights (10 s), Quiet (1 s), MaxWait (10 s), PerMinute (6) and OldGenerations (3) are the
	// Budget; 0 takes the default, below 0 means none.
	MinMembership, MinWeights, Quiet, MaxWait time.Duration
	PerMinute, OldGenerations                 int
	// ReportOnly leaves a file that somebody else has changed as it is; nothing is written until it is back.
	ReportOnly bool
	// VerifyTimeout is how long new workers may take after SIGHUP, 10 s by default. nginx itself gives up on a port in use
	// after 2.6 s.
	VerifyTimeout time.Duration
}

var fileRE = regexp.MustCompile(`^/[A-Za-z0-9._@+/-]+$`)

func (o Options) nginx() nginx {
	return nginx{binary: o.Binary, main: o.Main, prefix: o.Prefix, pidFile: o.PIDFile, testCommand: o.TestCommand, reloadCommand: o.ReloadCommand}
}

func (o Options) budget() Budget {
	return Budget{MinMembership: o.MinMembership, MinWeights: o.MinWeights, Quiet: o.Quiet, MaxWait: o.MaxWait,
		PerMinute: o.PerMinute, OldGenerations: o.OldGenerations}
}

func (o Options) withDefaults() (Options, error) {
	if err := o.checkPaths(); err != nil {
		return o, err
	}
	if o.Binary == "" {
		o.Binary = "nginx"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	orDefault(&o.MinMembership, 2*time.Second)
	orDefault(&o.MinWeights, 10*time.Second)
	orDefault(&o.Quiet, time.Second)
	orDefault(&o.MaxWait, 10*time.Second)
	orDefault(&o.PerMinute, 6)
	orDefault(&o.OldGenerations, 3)
	if o.VerifyTimeout <= 0 {
		o.VerifyTimeout = 10 * time.Second
	}
	return o, nil
}

// orDefault gives 0 its default and makes 0 of what is below.
func orDefault[T int | time.Duration](at *T, def T) {
	switch {
	case *at == 0:
		*at = def
	case *at < 0:
		*at = 0
	}
}

func (o Options) checkPaths() error {
	if o.File != "" && o.Folder != "" {
		return fmt.Errorf("an nginx include file (%s) and a folder of them (%s) exclude each other", o.File, o.Folder)
	}
	if o.File == "" && o.Folder == "" && o.StreamFile == "" {
		return fmt.Errorf("no nginx include file is named")
	}
	named := map[string]string{}
	for _, p := range []struct {
		name, path string
		optional   bool
	}{{"main configuration", o.Main, false}, {"include file", o.File, true}, {"include folder", o.Folder, true}, {"stream include file", o.StreamFile, true}} {
		if p.path == "" && p.optional {
			continue
		}
		if !fileRE.MatchString(p.path) || filepath.Clean(p.path) != p.path {
			return fmt.Errorf("the nginx %s %s is not allowed: an absolute path of letters, digits and '. _ @ + - /'", p.name, shown(p.path))
		}
		if other, twice := named[p.path]; twice {
			return fmt.Errorf("the nginx %s and the %s are both %s", p.name, other, p.path)
		}
		if p.optional && filepath.Base(p.path)[0] == '.' {
			return fmt.Errorf("the nginx %s %s is not allowed: a hidden file escapes `include *`", p.name, shown(p.path))
		}
		named[p.path] = p.name
	}
	return nil
}
