// Package rego runs the Rego policies that operators of a Confidential Containers key broker already have, unchanged: resource policies, which say whether a
// resource may be released, and attestation policies, which say what an attestation result claims. It is pure: what a policy sees is given to it, and
// nothing else can be reached.
//
// # What runs
//
// One module of the package "policy". A resource policy is asked for data.policy.allow with
//
//	input  the claims of the attestation result token, as package broker/ear writes them
//	data   {"plugin":"resource","resource-path":[…],"query":{}}
//
// and allows when the answer is true: undefined, false and what is no boolean refuse. An attestation policy is asked for data.policy.trust_claims with
//
//	input  the annotated evidence of one submodule: {"<kind>":{…},"report_data":…,"init_data":…,"init_data_claims":…,"runtime_data_claims":…}
//	data   {"reference":{id: value}}, which policies used before there was query_reference_value(id)
//
// and must give an object of integers. query_reference_value(id) gives the reference value of that id, or null where there is none.
//
// A module is read as Rego v1. One that is not v1 is tried as v0, in which rules have no "if": [Policy.Syntax] says which it was. What is wrong with a
// module that is neither is told as v1 has it, with line and column.
//
// # What does not run
//
// Built-in functions are those in a list (builtins.go), which has none that reach the network, files, the environment, the process or randomness, and
// none whose cost cannot be bounded. Any other is an error when the policy is compiled, at its place. time.now_ns() is the time of the judgement. "with" may replace input
// and nothing else: a function replaced by another would be a way round the limits below.
//
// # What it may cost
//
// Policies are written by authors, but their input comes from whoever presents evidence; neither may stop the broker.
//
//   - A module has at most [MaxSource] bytes, brackets within each other to [MaxDepth], numbers of at most maxDigits digits. Compiling takes at most [CompileTime], and one
//     that takes longer keeps others waiting, not other processors busy. Recursion is refused by the compiler, and structures
//     that would have more than maxUnfolded parts when written out, before (unfold.go).
//   - An evaluation has a budget of [MaxSteps] expressions, which is counted where the evaluator asks whether it was cancelled: before each
//     expression, and for each number of a range.
//   - Functions whose result can be larger than their operands are called through a meter, which estimates the result before it is made and takes it
//     from a budget of [MaxBytes]. So does a comparison of structures, for one may stand in another many times. Arithmetic refuses numbers of over maxDigits digits.
//   - An evaluation ends after [EvalTime]. What has not ended then is in a function that does not ask: the caller gets an answer a
//     second later all the same, and the policy is stuck: it refuses at once until all such evaluations have ended. As many evaluations of a policy run at once as there are
//     processors, so that it holds no more of the machine.
//   - A vector has at most maxClaims claims.
//
// An evaluation that fails in any of these ways is an error, never an answer.
package rego
