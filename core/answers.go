package core

// answered notes whether a server has given a good answer since it came into service: until it has, the workers ordered on it are ready,
// but of no use yet.
func (v *view) answered() {
	m, now := v.m, v.o.Answers
	switch {
	case !v.o.AnswersKnown:
	case !m.Phase.InService():
		m.Answers, m.Answered = now, false
	case !m.Answered:
		if now < m.Answers {
			// HAProxy was reloaded and counts anew.
			m.Answers = 0
		}
		m.Answered = now > m.Answers
	}
}

// fresh tells that a server takes requests and has not given a good answer yet.
func (v *view) fresh() bool {
	return v.o.AnswersKnown && !v.m.Answered && v.m.Phase.InService() && v.o.Pool.Ready > 0
}
