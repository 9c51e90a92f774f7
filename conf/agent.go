package conf

import (
	"strconv"
	"time"
)

// Agent is a complete, validated configuration of `tidegate agent`.
type Agent struct {
	File, Node, Listen string
	Token              Secret
	// Scan is the distance of two scans of the marks.
	Scan time.Duration
	Apps []AgentApp
}

// AgentApp is one app on the agent's node.
type AgentApp struct {
	Name, Marks, PIDFile string
	Min, Max             int
}

// LoadAgent reads a node agent's configuration; the error is Problems when the file was readable.
func LoadAgent(file string) (*Agent, error) {
	var raw rawAgent
	s, err := open(file, &raw)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		File:   file,
		Node:   s.name("node", raw.Node),
		Listen: s.socket("listen", raw.Listen, "127.0.0.1:9101"),
		Token:  s.token("token_file", raw.TokenFile),
		Scan:   s.duration("scan", raw.Scan, 100*time.Millisecond, 20*time.Millisecond, time.Second),
	}
	if a.Token == "" && raw.TokenFile == "" && !loopback(a.Listen) {
		s.fail("listen", a.Listen, "a loopback address or a unix socket, as long as there is no token_file")
	}
	if len(raw.Apps) == 0 {
		s.fail("apps", "", "at least one app")
	}
	seen := map[string]string{}
	for i := range raw.Apps {
		a.Apps = append(a.Apps, s.agentApp(index("apps", i), &raw.Apps[i], seen))
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	return a, nil
}

func (s *source) agentApp(key string, raw *rawAgentApp, seen map[string]string) AgentApp {
	app := AgentApp{Name: s.name(key+".name", raw.Name)}
	s.unique(seen, "app name", key+".name", raw.Name)
	app.Marks = s.path(key+".marks", raw.Marks, "")
	s.unique(seen, "marks folder", key+".marks", raw.Marks)
	if raw.Gunicorn == nil {
		s.fail(key+".gunicorn", "", "a section with the pid_file of the gunicorn master")
	} else {
		app.PIDFile = s.path(key+".gunicorn.pid_file", raw.Gunicorn.PIDFile, "")
	}
	w := raw.Workers
	if w == nil {
		w = &rawWorkers{}
	}
	if w.Parked != nil {
		s.fail(key+".workers.parked", strconv.Itoa(*w.Parked), "min and max only; the controller decides what is parked")
	}
	app.Min = s.int(key+".workers.min", w.Min, 1, 1, maxCount)
	app.Max = s.int(key+".workers.max", w.Max, max(app.Min, 64), app.Min, maxCount)
	return app
}
