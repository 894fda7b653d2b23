package ear

import (
	"errors"
	"testing"
)

// TestClaimed holds that a policy may know more than the broker, and not better.
func TestClaimed(t *testing.T) {
	for _, c := range []struct {
		name   string
		own    Vector
		claims map[string]int
		want   Vector
		err    bool
	}{
		{"better than unknown", Vector{Executables: 33, Configuration: 36, Hardware: 2}, map[string]int{"executables": 3, "configuration": 2, "hardware": 2}, Vector{Executables: 3, Configuration: 2, Hardware: 2}, false},
		{"better than a warning", Vector{Hardware: 32}, map[string]int{"hardware": 2}, Vector{Hardware: 2}, false},
		{"better than contraindicated", Vector{Hardware: 97, Configuration: 96}, map[string]int{"hardware": 2, "configuration": 3}, Vector{Hardware: 97, Configuration: 96}, false},
		{"silent about contraindicated", Vector{RuntimeOpaque: 96, Hardware: 2}, map[string]int{"hardware": 2}, Vector{RuntimeOpaque: 96, Hardware: 2}, false},
		{"below every tier", Vector{Hardware: 97}, map[string]int{"hardware": -1}, Vector{Hardware: 97}, false},
		{"worse", Vector{Hardware: 2}, map[string]int{"hardware": 97}, Vector{Hardware: 97}, false},
		{"claims that are not made", Vector{RuntimeOpaque: 2, InstanceIdentity: 2}, map[string]int{"hardware": 2}, Vector{Hardware: 2}, false},
		{"all", Vector{}, map[string]int{"instance-identity": 2, "configuration": 3, "executables": 4, "file-system": 5, "hardware": 6, "runtime-opaque": 7, "storage-opaque": 8, "sourced-data": 9}, Vector{2, 3, 4, 5, 6, 7, 8, 9}, false},
		{"another name", Vector{}, map[string]int{"hardware": 2, "file_system": 2}, Vector{}, true},
	} {
		got, err := c.own.claimed(c.claims)
		if got != c.want || (err != nil) != c.err || c.err && !errors.Is(err, ErrAppraisal) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}
