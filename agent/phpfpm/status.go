package phpfpm

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// status is what a pool's status page says with ?json.
type status struct {
	Pool      string `json:"pool"`
	Manager   string `json:"process manager"`
	StartTime int64  `json:"start time"` // seconds since 1970, when the master made the pool
	Queue     int    `json:"listen queue"`
	QueueLen  int    `json:"listen queue len"`
	Idle      int    `json:"idle processes"`
	Active    int    `json:"active processes"`
	Total     int    `json:"total processes"`
}

// maxCount is beyond what any pool has; a number above it is not believed.
const maxCount = 100000

// parseStatus reads a status page. Other keys are those of other versions and are passed over.
func parseStatus(b []byte) (status, error) {
	var s status
	if err := json.Unmarshal(b, &s); err != nil {
		return status{}, fmt.Errorf("it is not the JSON of a status page: %w", err)
	}
	if s.Pool == "" || s.StartTime <= 0 {
		return status{}, errors.New("it is not a status page: pool or start time is missing")
	}
	for _, n := range []int{s.Queue, s.QueueLen, s.Idle, s.Active, s.Total} {
		if n < 0 || n > maxCount {
			return status{}, fmt.Errorf("it has the number %d, which nothing in a pool can be", n)
		}
	}
	return s, nil
}

// started is when the master made the pool, to the second.
func (s status) started() time.Time { return time.Unix(s.StartTime, 0) }
