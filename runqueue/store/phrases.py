"""What requests and answers of Skyvern's API have in common, for `compression.py`.

A packed record can be read only with the very bytes it was packed with: other phrases are another
format (`format.py`).
"""

#: Field names of the API's models in the order in which the server writes them, values
#: that they often have, and words that prompts begin with. The likeliest are last, where deflate
#: needs the fewest bits to point at them.
PHRASES = (
    b" Do not submit the form. Stop before Log in with the username and password. If "
    b"there is a cookie banner, accept or close it. If you are asked to Your goal is "
    b"complete when you see COMPLETE when TERMINATE if the page Go to the Navigate to "
    b"Click on the Search for Fill in the form with the following information: Extract "
    b"the first Return the name, price and as JSON. Download the invoice for each of the "
    b'number of and the date of the website. "type":"object",'
    b'"properties":{"description":"","type":"string"},"type":"number"},"type":"boolean"},'
    b'"type":"integer"},"type":"array","items":{"type":["string","null"]},'
    b'"required":["enum":[""id":"","address":"","city":"","country":"US","email":"",'
    b'"phone":"+1","company":"","description":"","category":"","quantity":1,"total":"",'
    b'"amount":"","date":"2026-","status":"","title":"","url":"https://www.","name":"",'
    b'"price":0.00,"currency":"USD",true},{false},{null},{{"workflow_id":"wpid_",'
    b'"agent_id":"","parameters":{"proxy_location":"RESIDENTIAL","run_with":"agent",'
    b'"ai_fallback":true,"max_elapsed_time_minutes":,'
    b'"run_metadata":{"reuse_browser_session":false,"browser_profile_id":"bp_",'
    b'"start_fresh_browser":false,"engine":"skyvern-1.0","engine":"skyvern-3.0",'
    b'"engine":"anthropic-cua","engine":"openai-cua","status":"terminated",'
    b'"status":"timed_out","status":"canceled","status":"failed","failure_reason":"The ",'
    b'"errors":[{"error_code":"","reasoning":"","confidence_float":1.0}],'
    b'"downloaded_files":[{"url":"https://","checksum":"","filename":".pdf","file_size":,'
    b'"modified_at":"2026-","artifact_id":"a_"}],"output":{"{"prompt":"Go to ",'
    b'"url":"https://www.","data_extraction_schema":{"type":"object",'
    b'"properties":{"totp_identifier":"","totp_url":"https://",'
    b'"error_code_mapping":{""extra_http_headers":{"","url":"https://",'
    b'"engine":"skyvern-2.0","max_steps":25}{"run_id":"wr_","run_type":"workflow_run",'
    b'"run_id":"tsk_","run_type":"task_v1",{"run_id":"tsk_v2_","run_type":"task_v2",'
    b'"status":"completed","output":{"extracted_information":[{"":"","":null},{"}]},'
    b'"downloaded_files":[],"recording_url":"https://skyvern-artifacts.s3.amazonaws.com/v1'
    b'/production/o_/tsk_v2_/recording.webm?AWSAccessKeyId=&Signature=%3D&Expires=17",'
    b'"screenshot_urls":["https://skyvern-artifacts.s3.amazonaws.com/v1/production/o_/scre'
    b'enshot_final.png?","failure_reason":null,"errors":[],'
    b'"created_at":"2026-01-01T00:00:00.000000",'
    b'"modified_at":"2026-01-01T00:00:00.000000","queued_at":"2026-01-01T00:00:00.000000",'
    b'"started_at":"2026-01-01T00:00:00.000000",'
    b'"finished_at":"2026-01-01T00:00:00.000000",'
    b'"app_url":"https://app.skyvern.com/runs/tsk_v2_","browser_session_id":null,'
    b'"browser_profile_id":null,"max_screenshot_scrolls":null,"script_run":null,'
    b'"step_count":1,"attempt":1,"retry_pending":false,"next_attempt_at":null,'
    b'"run_request":{"prompt":"","url":"https://","engine":"skyvern-2.0","title":" '
    b'[rq:.1]","proxy_location":null,"data_extraction_schema":null,'
    b'"error_code_mapping":null,"max_steps":null,"webhook_url":"https://?rq_job=.1.",'
    b'"totp_identifier":null,"totp_url":null,"browser_session_id":null,"model":null,'
    b'"extra_http_headers":null,"publish_workflow":false,'
    b'"include_action_history_in_verification":false,"max_screenshot_scrolls":null,'
    b'"browser_address":null}}'
)
