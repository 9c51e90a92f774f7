package conf

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// AgentProcesses are workers that the agent starts itself.
type AgentProcesses struct {
	Listen, Directory, User, Group, EnvFile, Log, StateDir string
	// SocketMode is that of a unix socket, Umask that of the workers.
	SocketMode, Umask os.FileMode
	Command           []string
	// StopSignal is a signal's name without SIG.
	StopSignal                            string
	StopDeadline, IdleZero, StartDeadline time.Duration
	// Notify: a worker says itself when it is ready. ReadyAfter: it is at that age. Neither: marks tell.
	Notify     bool
	ReadyAfter time.Duration
}

// AgentSystemd is a template of systemd units.
type AgentSystemd struct{ Unit string }

type rawProcesses struct {
	Listen        string   `yaml:"listen"`
	SocketMode    string   `yaml:"socket_mode"`
	Command       []string `yaml:"command"`
	Directory     string   `yaml:"directory"`
	User          string   `yaml:"user"`
	Group         string   `yaml:"group"`
	EnvFile       string   `yaml:"env_file"`
	Umask         string   `yaml:"umask"`
	Log           string   `yaml:"log"`
	StopSignal    string   `yaml:"stop_signal"`
	StopDeadline  string   `yaml:"stop_deadline"`
	IdleZero      string   `yaml:"idle_zero"`
	Ready         string   `yaml:"ready"`
	StartDeadline string   `yaml:"start_deadline"`
	StateDir      string   `yaml:"state_dir"`
}

type rawSystemd struct {
	Unit string `yaml:"unit"`
}

// maxSocketPath is what a unix socket address holds (sun_path, 108 bytes with the final zero).
const maxSocketPath = 107

func (s *source) processes(key, app string, raw *rawProcesses, seen map[string]string) *AgentProcesses {
	p := &AgentProcesses{
		Listen:        s.socket(key+".listen", raw.Listen, ""),
		Directory:     s.path(key+".directory", raw.Directory, "/"),
		User:          s.account(key+".user", raw.User),
		Group:         s.account(key+".group", raw.Group),
		EnvFile:       s.optionalPath(key+".env_file", raw.EnvFile),
		Log:           s.optionalPath(key+".log", raw.Log),
		StateDir:      s.path(key+".state_dir", raw.StateDir, "/run/tidegate/agent"),
		SocketMode:    s.octal(key+".socket_mode", raw.SocketMode, 0o660),
		Umask:         s.octal(key+".umask", raw.Umask, 0o022),
		Command:       raw.Command,
		StopSignal:    s.oneOf(key+".stop_signal", raw.StopSignal, "TERM", "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"),
		StopDeadline:  s.duration(key+".stop_deadline", raw.StopDeadline, 30*time.Second, time.Second, time.Hour),
		IdleZero:      s.duration(key+".idle_zero", raw.IdleZero, time.Minute, time.Second, 24*time.Hour),
		StartDeadline: s.duration(key+".start_deadline", raw.StartDeadline, time.Minute, time.Second, time.Hour),
	}
	s.unique(seen, "listening address", key+".listen", raw.Listen)
	if len(p.Command) == 0 || strings.TrimSpace(p.Command[0]) == "" {
		s.fail(key+".command", "", "a list with a program and its arguments, such as [gunicorn, --workers, \"1\", \"shop:app\"]")
	}
	for i, arg := range p.Command {
		if strings.ContainsRune(arg, 0) {
			s.fail(index(key+".command", i), arg, "a text without zero bytes")
		}
	}
	if len(p.StateDir)+len("/"+app+".notify") > maxSocketPath {
		s.fail(key+".state_dir", p.StateDir, "a folder whose path and the app's name are at most %d bytes together", maxSocketPath-len("/.notify"))
	}
	p.Notify = raw.Ready == "notify"
	if raw.Ready != "" && raw.Ready != "notify" && raw.Ready != "marks" {
		d, err := time.ParseDuration(raw.Ready)
		if err != nil || d <= 0 || d > 10*time.Minute {
			s.fail(key+".ready", raw.Ready, "marks, notify, or the age at which a worker is ready, up to 10m0s, such as \"5s\"")
		}
		p.ReadyAfter = d
	}
	return p
}

func (s *source) optionalPath(key, value string) string {
	if value == "" {
		return ""
	}
	return s.path(key, value, "")
}

var accountRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?$`)

// account takes a user's or a group's name or number; whether it exists is found out where the agent runs.
func (s *source) account(key, value string) string {
	if value != "" && !accountRE.MatchString(value) {
		s.fail(key, value, "the name or number of an account")
	}
	return value
}

// octal takes permission bits as people write them.
func (s *source) octal(key, value string, def os.FileMode) os.FileMode {
	if value == "" {
		return def
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(value, "0o"), 8, 16)
	if err != nil || n > 0o777 {
		s.fail(key, value, "three or four octal digits, such as \"%04o\"", def)
		return def
	}
	return os.FileMode(n)
}

var templateRE = regexp.MustCompile(`^[A-Za-z0-9:_.-]{1,200}@%d\.service$`)

func (s *source) systemd(key string, raw *rawSystemd, seen map[string]string) *AgentSystemd {
	if !templateRE.MatchString(raw.Unit) {
		s.fail(key+".unit", raw.Unit, "a template with %%d for the number, such as shop@%%d.service")
	}
	s.unique(seen, "unit template", key+".unit", raw.Unit)
	return &AgentSystemd{Unit: raw.Unit}
}
