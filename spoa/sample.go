package spoa

import "time"

// Sink takes what HAProxy tells. Its methods are called in the goroutine of the connection, many connections at a time. They must
// be short: the ACKs of all that comes later on the connection wait for them, and those of heartbeats and arrivals themselves;
// Done is called when the request's ACK has been written. They must not keep the pointers, nor Sample.ID or Gauges.Servers: all
// are used again for the next message. now is the time at which the message was read.
type Sink interface {
	Done(now time.Time, s *Sample)
	Heartbeat(now time.Time, g *Gauges)
}

// Absent is what a Sample's or Gauges' number or time is when HAProxy sent none.
const Absent = -1

// Counters are HAProxy's own cumulative counts of one backend, which start at 0 with each process and wrap at 2^32.
// Started counts requests that reached the backend, Current those of them that have not left it, NoResponse those
// answered by HAProxy itself because no server did (502, 503, 504 and the like).
type Counters struct {
	Started, Current, NoResponse uint32
	// Known is false when any of the three is missing.
	Known bool
	// Answered counts those answered by a server. HAProxy sends it only when the samples are a share of the requests.
	Answered uint32
	// AnswersKnown is false when it has sent none.
	AnswersKnown bool
}

// Sample is one request whose response headers have come from a server.
type Sample struct {
	// ID is the request's own id, the same that HAProxy can log as %[var(txn.tidegate_id)], where the files ask for one
	// (haproxyconf.Params.Arrivals and IDs); at most 64 bytes.
	ID []byte
	// Boot names the HAProxy process (it is the microsecond of its start), Backend and Server who served. Server is empty
	// when HAProxy's cache or an applet did.
	Boot, Backend, Server string
	// Status is the server's HTTP status, 100 to 599, or Absent.
	Status int
	// Queue, Connect and Response are HAProxy's Tw, Tc and Tr, to the microsecond where HAProxy's clock gives it. Each is
	// Absent (-1 ns) or 0 to 24 hours.
	Queue, Connect, Response time.Duration
	// Retries is the number of connection retries or Absent. Redispatched tells that another server was chosen.
	Retries      int
	Redispatched bool
	// ServerConns, BackendConns and Queued are what stood on this server, in the backend (queued ones included) and in
	// the backend's queue at that moment, this request included; Absent when unknown.
	ServerConns, BackendConns, Queued int
	Counters                          Counters
}

// Gauges is what the heartbeat says of one backend, twice a second.
type Gauges struct {
	Boot, Backend string
	// InFlight counts the requests in the backend, queued ones included, Queued those in its queue, Up its usable servers;
	// Absent when unknown.
	InFlight, Queued, Up int
	Counters             Counters
	Servers              []ServerGauge
}

// ServerGauge is the number of requests on one server.
type ServerGauge struct {
	Name  string
	Conns int
}

type noSink struct{}

func (noSink) Done(time.Time, *Sample)      {}
func (noSink) Heartbeat(time.Time, *Gauges) {}
