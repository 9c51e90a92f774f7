package conf

import "strconv"

// AgentApp is one app on the agent's node.
type AgentApp struct {
	Name     string
	Min, Max int
	// Threads is the number of requests that one worker process serves at once; Min and Max count workers, not processes.
	Threads int
	// Check is where HAProxy's agent-check is answered; "" for nowhere.
	Check string
	// Marks is the folder of the request marks.
	Marks string
	// Exactly one of these is not nil: the server that runs the app.
	Gunicorn *AgentGunicorn
}

// Processes are Min and Max in worker processes: as many as hold Min, and no more than fit into Max.
func (a AgentApp) Processes() (least, most int) {
	return (a.Min + a.Threads - 1) / a.Threads, max(1, a.Max/a.Threads)
}

// AgentGunicorn is a gunicorn master (20.1 and later).
type AgentGunicorn struct{ PIDFile string }

func (s *source) agentApp(key string, raw *rawAgentApp, seen map[string]string) AgentApp {
	app := AgentApp{Name: s.name(key+".name", raw.Name)}
	s.unique(seen, "app name", key+".name", raw.Name)
	app.Marks = s.path(key+".marks", raw.Marks, "")
	s.unique(seen, "marks folder", key+".marks", raw.Marks)
	app.Threads = s.int(key+".threads", raw.Threads, 1, 1, 1024)
	if raw.Check != "" {
		app.Check = s.hostPort(key+".agent_check", raw.Check, false)
		s.unique(seen, "agent_check address", key+".agent_check", raw.Check)
	}
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
	if app.Max < app.Threads {
		s.fail(key+".max", strconv.Itoa(app.Max), "at least %d, the workers in one process (threads)", app.Threads)
	}
}
