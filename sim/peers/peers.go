package peers

import "github.com/tidegate/tidegate/sim"

// All are the rules in the order of tables.
func All() []sim.Policy {
	return []sim.Policy{
		AlwaysOn(), Script2011(), FiveMinutes(), UWSGI(), UWSGITuned(), AWS(), HPAUtil(), HPAConcurrency(),
		KPA("kpa", 0), KPA("kpa-300s", 300), Reactive(), AutoScale(), Reference(),
	}
}
