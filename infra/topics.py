"""The topics that the contract names, made where they are missing."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from infra.settings import Settings
from producers.routes import Routes


class TopicsError(Exception):
    """The topics cannot be made; one line says why."""


def names(settings: Settings) -> list[str]:
    """Input, outputs, done, dead letters; each once, also where settings make them one."""
    outputs = Routes(settings.routes).topics
    last = [settings.done_topic, settings.dead_letters_topic]
    return list(dict.fromkeys([settings.queries_topic, *outputs, *last]))


async def create(settings: Settings, partitions: int, replication: int) -> dict[str, bool]:
    """Each topic, and whether it was made now. Raises `TopicsError`."""
    admin = AIOKafkaAdminClient(**settings.kafka_client())
    try:
        await admin.start()
        there = set(await admin.list_topics())
        wanted = [_topic(name, settings, partitions, replication) for name in names(settings)]
        missing = [topic for topic in wanted if topic.name not in there]
        if missing:
            answer = await admin.create_topics(missing)
            for name, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise TopicsError(f"topic {name} cannot be made: {for_code(code).__name__}")
        return {topic.name: topic.name not in there for topic in wanted}
    except KafkaError as error:
        raise TopicsError(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    finally:
        await admin.close()


def _topic(name: str, settings: Settings, partitions: int, replication: int) -> NewTopic:
    dead = name == settings.dead_letters_topic
    hours = settings.dead_letters_retention_hours if dead else settings.retention_hours
    configs = {"retention.ms": str(hours * 3_600_000)}
    if dead:  # it holds a whole record and its headers: it may be larger than the record was
        configs["max.message.bytes"] = "8388608"
    return NewTopic(name, partitions, replication, topic_configs=configs)
