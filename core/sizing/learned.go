package sizing

// Learned is what an app's memory knows of the app, for people.
type Learned struct {
	// Arrivals is requests per second over the last minute.
	Arrivals float64
	// Service is the mean time that a worker needs for a request while the app is at ease, in seconds, 0 when not known.
	Service float64
	// Lead is the time from an order to its first good answer in seconds; Measured tells that it is not just the policy's.
	Lead     float64
	Measured bool
}

// Learned sums up what is known.
func (m *Memory) Learned(p *Policy) Learned {
	return Learned{
		Arrivals: m.History.rate(rateSeconds), Service: m.Service.Base,
		Lead: m.Lead.seconds(p.LeadTime.Seconds()), Measured: len(m.Lead.Samples) >= leastLeads,
	}
}

// leastLeads is how many orders must have come true before their times are used.
const leastLeads = 3
