package conf

// The raw schema: what may stand in a file. Pointers tell "not given" from zero. Each key is explained in
// docs/configuration.md; limits and defaults are applied in controller.go and agent.go.

type rawController struct {
	API      string      `yaml:"api"`
	Metrics  string      `yaml:"metrics"`
	StateDir string      `yaml:"state_dir"`
	Tick     string      `yaml:"tick"`
	SPOA     *rawSPOA    `yaml:"spoa"`
	HAProxy  *rawHAProxy `yaml:"haproxy"`
	Nginx    *rawNginx   `yaml:"nginx"`
	Nodes    []rawNode   `yaml:"nodes"`
	Apps     []rawApp    `yaml:"apps"`
}

type rawSPOA struct {
	Listen     string `yaml:"listen"`
	Group      string `yaml:"group"`
	OpenExpire string `yaml:"open_expire"`
}

type rawHAProxy struct {
	Socket  string `yaml:"socket"`
	Timeout string `yaml:"timeout"`
}

type rawNginx struct {
	Include       string `yaml:"include"`
	Config        string `yaml:"config"`
	Binary        string `yaml:"binary"`
	Prefix        string `yaml:"prefix"`
	PIDFile       string `yaml:"pid_file"`
	MinMembership string `yaml:"min_membership"`
	MinWeights    string `yaml:"min_weights"`
}

type rawNode struct {
	Name      string `yaml:"name"`
	URL       string `yaml:"url"`
	TokenFile string `yaml:"token_file"`
	Timeout   string `yaml:"timeout"`
}

type rawApp struct {
	Name          string       `yaml:"name"`
	Strategy      string       `yaml:"strategy"`
	Backend       string       `yaml:"haproxy_backend"`
	Upstream      *rawUpstream `yaml:"nginx_upstream"`
	MinServers    *int         `yaml:"min_servers"`
	MinWorkers    *int         `yaml:"min_workers"`
	MaxWorkers    *int         `yaml:"max_workers"`
	StaleAfter    string       `yaml:"stale_after"`
	Latency       rawLatency   `yaml:"latency"`
	BusyRatio     rawBusy      `yaml:"busy_ratio"`
	Warmup        *rawWarmup   `yaml:"warmup"`
	Weight        *int         `yaml:"weight"`
	Ramp          []int        `yaml:"ramp"`
	DrainDeadline string       `yaml:"drain_deadline"`
	StartDeadline string       `yaml:"start_deadline"`
	RetryAfter    string       `yaml:"retry_after"`
	MaxOut        *float64     `yaml:"max_out_per_minute"`
	ErrorStorm    *float64     `yaml:"error_storm"`
	Servers       []rawServer  `yaml:"servers"`
}

type rawUpstream struct {
	Name      string `yaml:"name"`
	Method    string `yaml:"method"`
	Keepalive *int   `yaml:"keepalive"`
	Zone      string `yaml:"zone"`
}

type rawLatency struct {
	Requests  *int   `yaml:"requests"`
	Threshold string `yaml:"threshold"`
	Breaches  *int   `yaml:"breaches"`
	Quiet     string `yaml:"quiet"`
}

type rawBusy struct {
	Target     *float64 `yaml:"target"`
	UpWindow   string   `yaml:"up_window"`
	DownWindow string   `yaml:"down_window"`
	DownEvery  string   `yaml:"down_every"`
	DownShare  *float64 `yaml:"down_share"`
	Fill       *float64 `yaml:"fill"`
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
	Apps      []rawAgentApp `yaml:"apps"`
}

type rawAgentApp struct {
	Name     string       `yaml:"name"`
	Marks    string       `yaml:"marks"`
	Gunicorn *rawGunicorn `yaml:"gunicorn"`
	Workers  *rawWorkers  `yaml:"workers"`
}

type rawGunicorn struct {
	PIDFile string `yaml:"pid_file"`
}
