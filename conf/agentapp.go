package conf

import "strconv"

// AgentApp is one app on the agent's node.
type AgentApp struct {
	Name     string
	Min, Max int
	// Marks is the folder of the request marks, empty when there is none. Sockets are what the app listens on.
	Marks   string
	Sockets []string
	// Busy is what counts the busy workers: BusyMarks, BusySockets or BusyServer.
	Busy string
	// Exactly one of these is not nil: the server that runs the app.
	Gunicorn *AgentGunicorn
}

// AgentGunicorn is a gunicorn master (20.1 and later).
type AgentGunicorn struct{ PIDFile string }

func (s *source) agentApp(key string, raw *rawAgentApp, seen map[string]string) AgentApp {
	app := AgentApp{Name: s.name(key+".name", raw.Name)}
	s.unique(seen, "app name", key+".name", raw.Name)
	s.agentSockets(key+".sockets", raw.Sockets, &app, seen)
	if raw.Marks != "" {
		app.Marks = s.path(key+".marks", raw.Marks, "")
	}
	s.unique(seen, "marks folder", key+".marks", raw.Marks)
	s.agentServer(key, raw, &app, seen)
	s.agentBusy(key+".busy", raw.Busy, &app)
	s.agentWorkers(key+".workers", raw.Workers, &app)
	return app
}

// agentServer reads the section of the server that runs the app.
func (s *source) agentServer(key string, raw *rawAgentApp, app *AgentApp, seen map[string]string) {
	if g := raw.Gunicorn; g != nil {
		app.Gunicorn = &AgentGunicorn{PIDFile: s.path(key+".gunicorn.pid_file", g.PIDFile, "")}
		s.unique(seen, "pid file", key+".gunicorn.pid_file", g.PIDFile)
	}
	if raw.Gunicorn == nil {
		s.fail(key+".gunicorn", "", "a section with the pid_file of the gunicorn master")
	}
}

func (s *source) agentWorkers(key string, w *rawWorkers, app *AgentApp) {
	if w == nil {
		w = &rawWorkers{}
	}
	if w.Parked != nil {
		s.fail(key+".parked", strconv.Itoa(*w.Parked), "min and max only; the controller decides what is parked")
	}
	app.Min = s.int(key+".min", w.Min, 1, 1, maxCount)
	app.Max = s.int(key+".max", w.Max, max(app.Min, 64), app.Min, maxCount)
}
