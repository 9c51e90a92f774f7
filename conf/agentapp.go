package conf

import (
	"path/filepath"
	"strconv"
	"strings"
)

// AgentApp is one app on the agent's node.
type AgentApp struct {
	Name     string
	Min, Max int
	// Threads is the number of requests that one worker process serves at once; Min and Max count workers, not processes.
	Threads int
	// Check is where HAProxy's agent-check is answered; "" for nowhere.
	Check string
	// Marks is the folder of the request marks, empty when there is none. Sockets are what the app listens on.
	Marks   string
	Sockets []string
	// Busy is what counts the busy workers: BusyMarks, BusySockets or BusyServer.
	Busy string
	// Exactly one of these is not nil: the server that runs the app.
	Gunicorn  *AgentGunicorn
	Unicorn   *AgentUnicorn
	Puma      *AgentPuma
	UWSGI     *AgentUWSGI
	PHPFPM    *AgentPHPFPM
	Passenger *AgentPassenger
	Processes *AgentProcesses
	Systemd   *AgentSystemd
}

// Bounds are Min and Max in worker processes: as many as hold Min, and no more than fit into Max.
func (a AgentApp) Bounds() (least, most int) {
	return (a.Min + a.Threads - 1) / a.Threads, max(1, a.Max/a.Threads)
}

// AgentGunicorn is a gunicorn master: PIDFile is steered by signals (20.1 and later), Control is its control socket (25.1
// and later). One of them is empty.
type AgentGunicorn struct{ PIDFile, Control string }

// AgentUnicorn is a Unicorn master.
type AgentUnicorn struct{ PIDFile string }

// AgentPuma is the master of a Puma cluster (5.6 and later).
type AgentPuma struct {
	PIDFile string
	// Control is the control app, "unix:/path" or a URL; empty for none. Token is its auth_token.
	Control string
	Token   Secret
}

// AgentUWSGI is a uWSGI with a master: Stats is its stats socket, "unix:/path" or "HOST:PORT", FIFO its master-fifo.
type AgentUWSGI struct{ Stats, FIFO string }

// agentServer is how the section of one server is read.
type agentServer struct {
	name  string
	given func(*rawAgentApp) bool
	read  func(s *source, key string, raw *rawAgentApp, app *AgentApp, seen map[string]string)
	// counts tells whether the server itself says how many requests are in progress, so that marks may be left out; nil for
	// never. least is the smallest number of workers that may be asked for.
	counts func(*rawAgentApp) bool
	least  int
}

// agentServers are the servers that the agent knows, in the order in which messages name them.
var agentServers = []agentServer{
	{name: "gunicorn", least: 1,
		given: func(r *rawAgentApp) bool { return r.Gunicorn != nil },
		read:  (*source).agentGunicorn},
	{name: "unicorn", least: 0,
		given: func(r *rawAgentApp) bool { return r.Unicorn != nil },
		read: func(s *source, key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
			app.Unicorn = &AgentUnicorn{PIDFile: s.ownPath("pid file", key+".pid_file", raw.Unicorn.PIDFile, seen)}
		}},
	{name: "puma", least: 1,
		given:  func(r *rawAgentApp) bool { return r.Puma != nil },
		counts: func(r *rawAgentApp) bool { return r.Puma.Control != "" },
		read:   (*source).agentPuma},
	{name: "uwsgi", least: 1,
		given:  func(r *rawAgentApp) bool { return r.UWSGI != nil },
		counts: func(*rawAgentApp) bool { return true },
		read: func(s *source, key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
			app.UWSGI = &AgentUWSGI{Stats: s.socket(key+".stats", raw.UWSGI.Stats, ""),
				FIFO: s.ownPath("FIFO", key+".fifo", raw.UWSGI.FIFO, seen)}
			s.unique(seen, "stats socket", key+".stats", raw.UWSGI.Stats)
		}},
	{name: "php_fpm", least: 1,
		given:  func(r *rawAgentApp) bool { return r.PHPFPM != nil },
		counts: func(*rawAgentApp) bool { return true },
		read:   (*source).agentPHPFPM},
	{name: "passenger", least: 1,
		given:  func(r *rawAgentApp) bool { return r.Passenger != nil },
		counts: func(*rawAgentApp) bool { return true },
		read:   (*source).agentPassenger},
	{name: "processes", least: 0,
		given: func(r *rawAgentApp) bool { return r.Processes != nil },
		read: func(s *source, key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
			app.Processes = s.processes(key, app.Name, raw.Processes, seen)
		}},
	{name: "systemd", least: 0,
		given: func(r *rawAgentApp) bool { return r.Systemd != nil },
		read: func(s *source, key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
			app.Systemd = s.systemd(key, raw.Systemd, seen)
		}},
}

func (s *source) agentApp(key string, raw *rawAgentApp, seen map[string]string) AgentApp {
	app := AgentApp{Name: s.name(key+".name", raw.Name)}
	s.unique(seen, "app name", key+".name", raw.Name)
	app.Threads = s.int(key+".threads", raw.Threads, 1, 1, 1024)
	if raw.Check != "" {
		app.Check = s.hostPort(key+".agent_check", raw.Check, false)
		s.unique(seen, "agent_check address", key+".agent_check", raw.Check)
	}
	s.agentSockets(key+".sockets", raw.Sockets, &app, seen)
	if raw.Marks != "" {
		app.Marks = s.ownPath("marks folder", key+".marks", raw.Marks, seen)
	}
	server := s.agentServer(key, raw)
	if server.read != nil {
		server.read(s, key+"."+server.name, raw, &app, seen)
		s.agentBusy(key+".busy", raw.Busy, &app, server.name, server.counts != nil && server.counts(raw))
	}
	s.agentWorkers(key+".workers", raw.Workers, &app, server.least)
	return app
}

// agentServer finds the one section of a server.
func (s *source) agentServer(key string, raw *rawAgentApp) agentServer {
	var given []agentServer
	var names, all []string
	for _, server := range agentServers {
		all = append(all, server.name)
		if server.given(raw) {
			given, names = append(given, server), append(names, server.name)
		}
	}
	switch len(given) {
	case 0:
		s.say(key, "has no section for the server that runs it; add one of %s", strings.Join(all, ", "))
	case 1:
		return given[0]
	default:
		s.say(key, "has the sections %s; an app has exactly one of %s", strings.Join(names, " and "), strings.Join(all, ", "))
	}
	return agentServer{least: 0}
}

func (s *source) agentPuma(key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
	p := raw.Puma
	app.Puma = &AgentPuma{PIDFile: s.ownPath("pid file", key+".pid_file", p.PIDFile, seen), Control: p.Control}
	switch {
	case p.Control == "" && p.TokenFile != "":
		s.fail(key+".token_file", p.TokenFile, "nothing, as long as there is no `control`, which the token is for")
	case p.Control == "":
	case filepath.IsAbs(p.Control):
		s.fail(key+".control", p.Control, "unix:/path or a URL such as http://127.0.0.1:9293; a path stands after `unix:`, here unix:%s", p.Control)
	default:
		s.httpURL(key+".control", p.Control, true)
		s.unique(seen, "control app", key+".control", p.Control)
		app.Puma.Token = s.token(key+".token_file", p.TokenFile)
	}
}

// ownPath is a path that no other app may have.
func (s *source) ownPath(kind, key, value string, seen map[string]string) string {
	s.unique(seen, kind, key, value)
	return s.path(key, value, "")
}

func (s *source) agentWorkers(key string, w *rawWorkers, app *AgentApp, least int) {
	if w == nil {
		w = &rawWorkers{}
	}
	if w.Parked != nil {
		s.fail(key+".parked", strconv.Itoa(*w.Parked), "nothing; there are `min` and `max` here, and the controller's file says what is parked")
	}
	if w.Min != nil && *w.Min == 0 && least > 0 {
		s.fail(key+".min", "0", "a whole number from 1 to %d; only unicorn, processes and systemd can do with no worker", maxCount)
		w.Min = nil
	}
	app.Min = s.int(key+".min", w.Min, 1, least, maxCount)
	app.Max = s.int(key+".max", w.Max, max(app.Min, 64), max(app.Min, 1), maxCount)
	if app.Max < app.Threads {
		s.fail(key+".max", strconv.Itoa(app.Max), "at least %d, because one process is that many workers (threads)", app.Threads)
	}
}
