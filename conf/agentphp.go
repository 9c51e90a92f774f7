package conf

import (
	"strings"
	"time"
)

// AgentPHPFPM is one pool of a php-fpm master (PHP 8.0 and later).
type AgentPHPFPM struct {
	// PIDFile is the master's, Pool the name of the pool's section.
	PIDFile, Pool string
	// Status is the pool's pm.status_listen, "unix:/path" or "HOST:PORT", StatusPath its pm.status_path.
	Status, StatusPath string
	// CeilingFile is the file with pm.max_children that the agent writes, empty when it is to change nothing; MinDistance is
	// the least time between two changes.
	CeilingFile string
	MinDistance time.Duration
}

// AgentPassenger is one application of Passenger Standalone with the builtin engine (6.0).
type AgentPassenger struct {
	// Registry is the instance registry's folder, App the application's root or group name, empty for the only one.
	Registry, App string
}

func (s *source) agentGunicorn(key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
	g := raw.Gunicorn
	if g.Control != "" && g.PIDFile != "" {
		s.say(key, "has both `control` and `pid_file`; the agent steers gunicorn through one of them")
	}
	if g.Control == "" && g.PIDFile == "" {
		s.say(key, "needs `pid_file` (what gunicorn has as --pid) or `control` (what it has as --control-socket)")
		return
	}
	if g.Control != "" {
		app.Gunicorn = &AgentGunicorn{Control: s.ownPath("control socket", key+".control", g.Control, seen)}
		return
	}
	app.Gunicorn = &AgentGunicorn{PIDFile: s.ownPath("pid file", key+".pid_file", g.PIDFile, seen)}
}

func (s *source) agentPHPFPM(key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
	f := raw.PHPFPM
	app.PHPFPM = &AgentPHPFPM{
		PIDFile:     s.path(key+".pid_file", f.PIDFile, ""),
		Pool:        s.name(key+".pool", f.Pool),
		Status:      s.socket(key+".status", f.Status, ""),
		StatusPath:  f.StatusPath,
		MinDistance: s.duration(key+".min_distance", f.MinDistance, 5*time.Minute, 10*time.Second, 24*time.Hour),
	}
	s.unique(seen, "status listener", key+".status", f.Status)
	if f.StatusPath == "" {
		app.PHPFPM.StatusPath = "/fpm-status"
	}
	if p := app.PHPFPM.StatusPath; p[0] != '/' || len(p) > 200 || strings.ContainsAny(p, " ?#\t\r\n") {
		s.fail(key+".status_path", p, "a path that begins with / and has no spaces, ? or #, such as /fpm-status")
	}
	if f.CeilingFile != "" {
		app.PHPFPM.CeilingFile = s.ownPath("ceiling file", key+".ceiling_file", f.CeilingFile, seen)
		const master = "php-fpm master with a ceiling_file"
		if before, ok := seen[master+f.PIDFile]; ok && f.PIDFile != "" {
			s.say(key+".ceiling_file", "the same master has one at %s; only one pool of a master can be steered, because each change replaces all children of the master", before)
		}
		seen[master+f.PIDFile] = key + ".ceiling_file"
	}
}

func (s *source) agentPassenger(key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
	p := raw.Passenger
	app.Passenger = &AgentPassenger{Registry: s.path(key+".registry", p.Registry, ""), App: p.App}
	if len(p.App) > 1000 || strings.ContainsAny(p.App, "\x00\r\n") {
		s.fail(key+".app", p.App, "the application's root folder or group name")
	}
	if p.App == "" {
		s.unique(seen, "registry with a single application", key+".registry", p.Registry)
	} else {
		s.unique(seen, "Passenger application", key+".app", p.App)
	}
}
