package signals

import "time"

// Patience is how often the master and its workers are looked at while nothing happens: what a reload does is told by what has
// changed since the last look, however long ago.
func (m *Master) Patience() time.Duration { return time.Second }
