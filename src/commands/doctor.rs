//! `ahual doctor`: is the configuration right, and does what it names answer?

use std::process::ExitCode;

use ahual_ingest::log::Access;
use ahual_transform::mapping::Mapping;

use crate::config::{Config, chain};
use crate::{cli, output};

/// Checks everything and says each result on a line; takes no data and moves no cursor.
pub async fn run(arguments: cli::Deployment) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    output::line(&format!("ok    configuration {}", arguments.config.display()));
    let mut healthy = true;
    let mut say = |what: String, result: Result<String, String>| match result {
        Ok(detail) => output::line(&format!("ok    {what}: {detail}")),
        Err(reason) => {
            healthy = false;
            output::line(&format!("FAIL  {what}: {reason}"));
        }
    };
    let sealer = match config.sealer() {
        Ok(sealer) => {
            say("sealing".to_owned(), Ok(format!("key '{}'", config.sealing.key_name)));
            Some(sealer)
        }
        Err(error) => {
            say("sealing".to_owned(), Err(chain(&error)));
            None
        }
    };
    let reference = match config.reference_data() {
        Ok(reference) => {
            let calendars = reference.calendars.ids().join(", ");
            say("reference data".to_owned(), Ok(format!("{}, calendars {calendars}", reference.fingerprint())));
            Some(reference)
        }
        Err(error) => {
            say("reference data".to_owned(), Err(chain(&error)));
            None
        }
    };
    let access = ahual_ingest::log::open_or_join(&config.log, &arguments.data, config.deployment.partitions).await;
    say(
        "log".to_owned(),
        match access {
            Ok(Access::Own(log)) => Ok(format!("{} partitions a topic", log.partitions())),
            Ok(Access::Guest(log)) => {
                Ok(format!("a running process owns it and answers; {} partitions a topic", log.partitions()))
            }
            Err(error) => Err(chain(&error)),
        },
    );
    for source in &config.sources {
        if let (Some(sealer), Some(reference)) = (&sealer, &reference) {
            let mapping = Mapping::load(&source.name, &source.mapping, &config.base_dir, sealer, reference).await;
            let planned = mapping.map(|_| source.mapping.sql.display().to_string()).map_err(|e| chain(&e));
            say(format!("source {} mapping", source.name), planned);
        }
        let answered = match ahual_ingest::build(&source.name, source.intake(), &config.base_dir) {
            Err(error) => Err(chain(&error)),
            Ok(mut door) => match door.connector.next_page(None, chrono::Utc::now()).await {
                Ok(page) => Ok(format!("answers; a first page of {} is there", page.items.len())),
                Err(error) => Err(chain(&error)),
            },
        };
        say(format!("source {}", source.name), answered);
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
