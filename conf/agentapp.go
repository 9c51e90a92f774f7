package conf

import (
	"slices"
	"strconv"
	"strings"
)

// AgentApp is one app on the agent's node.
type AgentApp struct {
	Name     string
	Min, Max int
	// Marks is the folder of the request marks.
	Marks string
	// Exactly one of these is not nil: the server that runs the app.
	Gunicorn  *AgentGunicorn
	Processes *AgentProcesses
	Systemd   *AgentSystemd
}

// AgentGunicorn is a gunicorn master (20.1 and later).
type AgentGunicorn struct{ PIDFile string }

func (s *source) agentApp(key string, raw *rawAgentApp, seen map[string]string) AgentApp {
	app := AgentApp{Name: s.name(key+".name", raw.Name)}
	s.unique(seen, "app name", key+".name", raw.Name)
	app.Marks = s.path(key+".marks", raw.Marks, "")
	s.unique(seen, "marks folder", key+".marks", raw.Marks)
	s.agentServer(key, raw, &app, seen)
	s.agentWorkers(key+".workers", raw.Workers, &app)
	return app
}

// agentServer reads the section of the server that runs the app.
func (s *source) agentServer(key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
	if g := raw.Gunicorn; g != nil {
		app.Gunicorn = &AgentGunicorn{PIDFile: s.path(key+".gunicorn.pid_file", g.PIDFile, "")}
		s.unique(seen, "pid file", key+".gunicorn.pid_file", g.PIDFile)
	}
	if raw.Processes != nil {
		app.Processes = s.processes(key+".processes", app.Name, raw.Processes, seen)
	}
	if raw.Systemd != nil {
		app.Systemd = s.systemd(key+".systemd", raw.Systemd, seen)
	}
	var there []string
	for name, is := range map[string]bool{"gunicorn": raw.Gunicorn != nil, "processes": raw.Processes != nil, "systemd": raw.Systemd != nil} {
		if is {
			there = append(there, name)
		}
	}
	if slices.Sort(there); len(there) != 1 {
		s.fail(key, strings.Join(there, ", "), "exactly one section that says what runs the app: gunicorn, processes or systemd")
	}
}

func (s *source) agentWorkers(key string, w *rawWorkers, app *AgentApp) {
	if w == nil {
		w = &rawWorkers{}
	}
	if w.Parked != nil {
		s.fail(key+".parked", strconv.Itoa(*w.Parked), "min and max only; the controller decides what is parked")
	}
	least := 1
	if app.Processes != nil || app.Systemd != nil {
		least = 0 // these can do without a worker
	}
	app.Min = s.int(key+".min", w.Min, 1, least, maxCount)
	app.Max = s.int(key+".max", w.Max, max(app.Min, 64), max(app.Min, 1), maxCount)
}
