package conf

import (
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// The raw schema: what may stand in a file. Pointers tell "not given" from zero. Each key is explained in
// docs/configuration.md; limits and defaults are applied in controller.go and agent.go.

type rawController struct {
	API      string       `yaml:"api"`
	Metrics  string       `yaml:"metrics"`
	StateDir string       `yaml:"state_dir"`
	Journal  string       `yaml:"journal"`
	Tick     string       `yaml:"tick"`
	Resolve  string       `yaml:"resolve_every"`
	SPOA     *rawSPOA     `yaml:"spoa"`
	HAProxy  rawHAProxies `yaml:"haproxy"`
	Nginx    *rawNginx    `yaml:"nginx"`
	Nodes    []rawNode    `yaml:"nodes"`
	Apps     []rawApp     `yaml:"apps"`
}

type rawSPOA struct {
	Listen     string `yaml:"listen"`
	Group      string `yaml:"group"`
	OpenExpire string `yaml:"open_expire"`
	Scheduling string `yaml:"scheduling"`
}

// rawHAProxies is a mapping, or a list of mappings with names.
type rawHAProxies struct {
	list  []rawHAProxy
	named bool
}

type rawHAProxy struct {
	Name    string `yaml:"name"`
	Socket  string `yaml:"socket"`
	Remote  bool   `yaml:"remote"`
	Timeout string `yaml:"timeout"`
}

// UnmarshalYAML takes either form, strictly.
func (r *rawHAProxies) UnmarshalYAML(node ast.Node) error {
	if _, r.named = node.(*ast.SequenceNode); r.named {
		return yaml.NodeToValue(node, &r.list, yaml.Strict())
	}
	r.list = make([]rawHAProxy, 1)
	return yaml.NodeToValue(node, &r.list[0], yaml.Strict())
}

type rawNginx struct {
	Include        string       `yaml:"include"`
	Layout         string       `yaml:"layout"`
	StreamInclude  string       `yaml:"stream_include"`
	Config         string       `yaml:"config"`
	Binary         string       `yaml:"binary"`
	Prefix         string       `yaml:"prefix"`
	PIDFile        string       `yaml:"pid_file"`
	TestCommand    []string     `yaml:"test_command"`
	ReloadCommand  []string     `yaml:"reload_command"`
	MinMembership  string       `yaml:"min_membership"`
	MinWeights     string       `yaml:"min_weights"`
	Quiet          string       `yaml:"quiet"`
	MaxWait        string       `yaml:"max_wait"`
	MaxPerMinute   *int         `yaml:"max_per_minute"`
	OldGenerations *int         `yaml:"old_generations"`
	OnDrift        string       `yaml:"on_drift"`
	Weights        string       `yaml:"weights"`
	DNS            *rawNginxDNS `yaml:"dns"`
}

type rawNginxDNS struct {
	Listen   string `yaml:"listen"`
	Fallback *bool  `yaml:"fallback"`
}

type rawNode struct {
	Name      string `yaml:"name"`
	URL       string `yaml:"url"`
	TokenFile string `yaml:"token_file"`
	Timeout   string `yaml:"timeout"`

	Speed *float64      `yaml:"speed"`
	TLS   *rawClientTLS `yaml:"tls"`
}

type rawClientTLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

type rawApp struct {
	Name string `yaml:"name"`
	// Strategy is one name or a list of names.
	Strategy      any          `yaml:"strategy"`
	Backend       string       `yaml:"haproxy_backend"`
	HAProxy       []string     `yaml:"haproxy"`
	Upstream      *rawUpstream `yaml:"nginx_upstream"`
	MinServers    *int         `yaml:"min_servers"`
	MinWorkers    *int         `yaml:"min_workers"`
	MaxWorkers    *int         `yaml:"max_workers"`
	StaleAfter    string       `yaml:"stale_after"`
	Latency       rawLatency   `yaml:"latency"`
	SLO           string       `yaml:"slo"`
	LeadTime      string       `yaml:"lead_time"`
	Erlang        rawErlang    `yaml:"erlang"`
	BusyRatio     rawRatio     `yaml:"busy_ratio"`
	RPSRatio      rawRatio     `yaml:"rps_ratio"`
	Queue         rawQueue     `yaml:"queue"`
	Schedule      []rawSlot    `yaml:"schedule"`
	Backlog       *rawBacklog  `yaml:"backlog"`
	Up            rawUp        `yaml:"up"`
	Down          rawDown      `yaml:"down"`
	Guard         rawGuard     `yaml:"collapse_guard"`
	Futility      rawFutility  `yaml:"futility"`
	Profile       rawProfile   `yaml:"profile"`
	FlapBudget    *int         `yaml:"flap_budget"`
	Fill          *float64     `yaml:"fill"`
	Warmup        *rawWarmup   `yaml:"warmup"`
	Weight        *int         `yaml:"weight"`
	Ramp          []int        `yaml:"ramp"`
	DrainDeadline string       `yaml:"drain_deadline"`
	Weights       string       `yaml:"weights"`
	DrainThen     string       `yaml:"drain_then"`
	MaxConn       *rawMaxConn  `yaml:"maxconn"`
	Readdress     bool         `yaml:"readdress"`
	Dynamic       *rawDynamic  `yaml:"dynamic"`
	StartDeadline string       `yaml:"start_deadline"`
	RetryAfter    string       `yaml:"retry_after"`
	MaxOut        *float64     `yaml:"max_out_per_minute"`
	ErrorStorm    *float64     `yaml:"error_storm"`
	Servers       []rawServer  `yaml:"servers"`
}

type rawMaxConn struct {
	PerWorker *int `yaml:"per_worker"`
}

type rawDynamic struct {
	Options string `yaml:"options"`
}

type rawUpstream struct {
	Name      string `yaml:"name"`
	Stream    bool   `yaml:"stream"`
	Method    string `yaml:"method"`
	Keepalive *int   `yaml:"keepalive"`
	Zone      string `yaml:"zone"`

	MaxConns          *int   `yaml:"max_conns"`
	MaxConnsPerWorker *int   `yaml:"max_conns_per_worker"`
	MaxFails          *int   `yaml:"max_fails"`
	FailTimeout       string `yaml:"fail_timeout"`
}

type rawLatency struct {
	Requests  *int   `yaml:"requests"`
	Threshold string `yaml:"threshold"`
	Breaches  *int   `yaml:"breaches"`
	Quiet     string `yaml:"quiet"`
}

type rawErlang struct {
	MaxWait  *float64 `yaml:"max_wait"`
	MaxLate  *float64 `yaml:"max_late"`
	CV       *float64 `yaml:"service_cv"`
	LoseNode *bool    `yaml:"lose_node"`
	Reserve  *float64 `yaml:"reserve"`
}

type rawRatio struct {
	Target *float64 `yaml:"target"`
	Window string   `yaml:"window"`
}

type rawQueue struct {
	Drain  string   `yaml:"drain"`
	MaxAge string   `yaml:"max_age"`
	Target *float64 `yaml:"target"`
}

type rawSlot struct {
	Days    []string `yaml:"days"`
	From    string   `yaml:"from"`
	To      string   `yaml:"to"`
	Workers *int     `yaml:"workers"`
	Zone    string   `yaml:"zone"`
}

type rawBacklog struct {
	URL     string   `yaml:"url"`
	Command []string `yaml:"command"`
	Every   string   `yaml:"every"`
	Timeout string   `yaml:"timeout"`
}

type rawUp struct {
	Every     string   `yaml:"every"`
	Share     *float64 `yaml:"share"`
	Step      *int     `yaml:"step"`
	Tolerance *float64 `yaml:"tolerance"`
}

type rawDown struct {
	Window    string   `yaml:"window"`
	Every     string   `yaml:"every"`
	Share     *float64 `yaml:"share"`
	Tolerance *float64 `yaml:"tolerance"`
}

type rawGuard struct {
	Off    *bool    `yaml:"off"`
	Drop   *float64 `yaml:"drop"`
	Hold   string   `yaml:"hold"`
	Extend string   `yaml:"extend"`
}

type rawFutility struct {
	Off   *bool  `yaml:"off"`
	Probe string `yaml:"probe"`
}

type rawProfile struct {
	On   *bool `yaml:"on"`
	Days *int  `yaml:"days"`
}

type rawWarmup struct {
	Path      string `yaml:"path"`
	Host      string `yaml:"host"`
	UserAgent string `yaml:"user_agent"`
	Timeout   string `yaml:"timeout"`
}

type rawServer struct {
	Name      string      `yaml:"name"`
	Address   string      `yaml:"address"`
	Node      string      `yaml:"node"`
	AlwaysUp  bool        `yaml:"always_up"`
	Initial   string      `yaml:"initial"`
	WarmupURL string      `yaml:"warmup_url"`
	Workers   *rawWorkers `yaml:"workers"`
	Backup    bool        `yaml:"backup"`
	Down      bool        `yaml:"down"`
	MaxConns  *int        `yaml:"max_conns"`
}

type rawWorkers struct {
	Min    *int `yaml:"min"`
	Max    *int `yaml:"max"`
	Parked *int `yaml:"parked"`
}

type rawAgent struct {
	Node      string        `yaml:"node"`
	Listen    string        `yaml:"listen"`
	TokenFile string        `yaml:"token_file"`
	Scan      string        `yaml:"scan"`
	StateDir  string        `yaml:"state_dir"`
	Apps      []rawAgentApp `yaml:"apps"`

	TLS *rawServerTLS `yaml:"tls"`
}

type rawServerTLS struct {
	Cert     string `yaml:"cert"`
	Key      string `yaml:"key"`
	ClientCA string `yaml:"client_ca"`
}

type rawAgentApp struct {
	Name      string        `yaml:"name"`
	Threads   *int          `yaml:"threads"`
	Check     string        `yaml:"agent_check"`
	Marks     string        `yaml:"marks"`
	Gunicorn  *rawGunicorn  `yaml:"gunicorn"`
	Unicorn   *rawUnicorn   `yaml:"unicorn"`
	Puma      *rawPuma      `yaml:"puma"`
	UWSGI     *rawUWSGI     `yaml:"uwsgi"`
	PHPFPM    *rawPHPFPM    `yaml:"php_fpm"`
	Passenger *rawPassenger `yaml:"passenger"`
	Processes *rawProcesses `yaml:"processes"`
	Systemd   *rawSystemd   `yaml:"systemd"`
	Workers   *rawWorkers   `yaml:"workers"`
	Sockets   []string      `yaml:"sockets"`
	Busy      string        `yaml:"busy"`
}

type rawGunicorn struct {
	PIDFile string `yaml:"pid_file"`
	Control string `yaml:"control"`
}

type rawPHPFPM struct {
	PIDFile     string `yaml:"pid_file"`
	Pool        string `yaml:"pool"`
	Status      string `yaml:"status"`
	StatusPath  string `yaml:"status_path"`
	CeilingFile string `yaml:"ceiling_file"`
	MinDistance string `yaml:"min_distance"`
}

type rawPassenger struct {
	Registry string `yaml:"registry"`
	App      string `yaml:"app"`
}

type rawUnicorn struct {
	PIDFile string `yaml:"pid_file"`
}

type rawPuma struct {
	PIDFile   string `yaml:"pid_file"`
	Control   string `yaml:"control"`
	TokenFile string `yaml:"token_file"`
}

type rawUWSGI struct {
	Stats string `yaml:"stats"`
	FIFO  string `yaml:"fifo"`
}
