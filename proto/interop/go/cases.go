package main

import (
	"strings"
	"time"
)

// oneCase is a claim about the broker, shown through the Go client.
type oneCase struct {
	name     string
	deadline time.Duration
	body     func(*scene)
}

func suite(name string) []oneCase {
	usual := time.Minute
	main := []oneCase{
		{"retry_to_dead_letter", 80 * time.Second, retryToDeadLetter},
		{"retry_then_success", 80 * time.Second, retryThenSuccess},
		{"offset_reset_by_time", 90 * time.Second, offsetResetByTime},
		{"send_sync", usual, sendSync},
		{"send_async", usual, sendAsync},
		{"send_oneway", usual, sendOneway},
		{"send_batch", usual, sendBatch},
		{"send_ordered", usual, sendOrdered},
		{"send_delayed_by_level", usual, sendDelayed},
		{"send_compressed_body", usual, sendCompressed},
		{"send_keeps_properties", usual, sendProperties},
		{"send_creates_topic", usual, sendCreatesTopic},
		{"transaction_committed", usual, transactionCommitted},
		{"transaction_rolled_back", usual, transactionRolledBack},
		{"transaction_checked_back", usual, transactionCheckedBack},
		{"request_reply", usual, requestReply},
		{"request_reply_async", usual, requestReplyAsync},
		{"push_concurrent", usual, pushConcurrent},
		{"push_group_shares_queues", usual, pushShares},
		{"push_orderly", usual, pushOrderly},
		{"push_broadcast", usual, pushBroadcast},
		{"push_resumes_at_its_offset", usual, pushResumes},
		{"push_from_a_point_in_time", usual, pushFromTime},
		{"filter_tag", usual, filterTag},
		{"filter_sql92", usual, filterSQL},
		{"pull_from_an_offset", usual, pullFrom},
		{"pull_by_polling", usual, pullPolling},
		{"trace_of_send_and_consume", usual, traced},
		{"admin_lists_and_deletes_topics", usual, adminTopics},
	}
	switch name {
	case "main":
		return main
	case "shards":
		return among(main, "send_ordered,send_delayed_by_level,transaction_committed,transaction_checked_back,"+
			"request_reply,push_concurrent,push_orderly,push_broadcast,filter_tag,filter_sql92,"+
			"retry_to_dead_letter,pull_by_polling")
	case "cluster":
		return []oneCase{
			{"cluster_spreads_over_two_brokers", usual, clusterSpreads},
			{"cluster_broker_stopped_and_started_under_load", 150 * time.Second, clusterUnderLoad},
		}
	}
	return nil
}

func among(cases []oneCase, names string) []oneCase {
	var some []oneCase
	for _, one := range cases {
		if strings.Contains(","+names+",", ","+one.name+",") {
			some = append(some, one)
		}
	}
	return some
}
