package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// differAt is the path of the first value in which a (the journal's) and b (the replay's) differ, with both; "" when they are equal.
func differAt(path string, a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			keys := maps.Clone(x)
			maps.Copy(keys, y)
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				if what := differAt(strings.TrimPrefix(path+"."+k, "."), x[k], y[k]); what != "" {
					return what
				}
			}
			return ""
		}
	case []any:
		if y, ok := b.([]any); ok {
			for i := range max(len(x), len(y)) {
				if what := differAt(fmt.Sprintf("%s[%d]", path, i), at(x, i), at(y, i)); what != "" {
					return what
				}
			}
			return ""
		}
	default:
		if a == b {
			return ""
		}
	}
	return fmt.Sprintf("%s: the journal has %s, the replay %s", path, inJSON(a), inJSON(b))
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func inJSON(v any) string {
	if v == nil {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
