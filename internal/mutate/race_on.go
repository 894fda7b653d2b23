//go:build race

package mutate

// raceDetector says whether the test is built with it, which makes parsers and signature checks some ten times as slow.
const raceDetector = true
